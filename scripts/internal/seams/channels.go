package main

import "context"

func channels(ctx context.Context, r *round) error { return nil }
