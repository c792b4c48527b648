package main

import "context"

func upgrades(ctx context.Context, r *round) error { return nil }
