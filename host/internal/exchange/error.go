package exchange

import (
	"context"
	"errors"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// ErrorOf makes a *migration.Error of whatever ended an attempt. When ctx has
// ended, that is why, unless the daemon was released or may have been.
func ErrorOf(ctx context.Context, err error) *migration.Error {
	var me, cause *migration.Error
	isError := errors.As(err, &me)
	if isError && (ctx.Err() == nil || me.Code == migration.StoreFailed || me.Code == migration.SourceUnavailable) {
		return me
	}
	if ctx.Err() != nil {
		if errors.As(context.Cause(ctx), &cause) {
			return cause
		}
		return migration.Failf(migration.Cancelled, "this node is shutting down")
	}
	code := migration.StateFailed
	var moved *daemon.MovedError
	switch {
	case errors.Is(err, daemon.ErrNotPortable):
		code = migration.NotPortable
	case errors.Is(err, mesh.ErrUnknownNode), errors.Is(err, mesh.ErrUnreachable):
		code = migration.TargetUnavailable
	case errors.Is(err, daemon.ErrNotReady), errors.Is(err, daemon.ErrShuttingDown):
		code = migration.NotReady
	case errors.Is(err, identity.ErrReadOnly):
		code = migration.IdentityTransportFailed
	case errors.As(err, &moved):
		code = migration.DaemonNotFound
	}
	return migration.Failf(code, "%v", err)
}
