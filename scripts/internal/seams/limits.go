package main

import "context"

func limits(ctx context.Context, r *round) error { return nil }
