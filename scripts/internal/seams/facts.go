package main

import "context"

func facts(ctx context.Context, r *round) error { return nil }
