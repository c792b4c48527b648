package main

import "context"

func quarantine(ctx context.Context, r *round) error { return nil }
