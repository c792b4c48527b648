package main

import "context"

func forks(ctx context.Context, r *round) error { return nil }
