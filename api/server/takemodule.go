package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// namingModule has an upgrade's module mean what it means here, where the client asks:
// "latest" becomes this node's digest of the daemon's kind. A digest that this node does
// not know may be known where the daemon is.
func (s *Server) namingModule(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var req api.Upgrade
		if err := web.ReadJSON(w, r, &req); err != nil {
			return err
		}
		if _, byPeer := wire.PeerOf(r.Context()); !byPeer && req.To != "" && !req.Rollback {
			digest, err := s.moduleNamed(r, req.To)
			if err != nil {
				return err
			}
			req.To = digest
		}
		b, err := json.Marshal(req)
		if err != nil {
			return err
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		return h(w, r)
	}
}

// moduleNamed is the digest that an upgrade of the request's daemon to version means on
// this node.
func (s *Server) moduleNamed(r *http.Request, version string) (string, error) {
	if version != registry.LatestModule {
		return version, nil
	}
	kind, err := s.kindOfDaemon(r)
	if err != nil {
		return "", err
	}
	if query.Of(r).Is(api.DryRunParameter) {
		_, k, err := s.offered(r.Context(), kind)
		return k.Digest, err
	}
	if err := s.learnKind(r.Context(), kind); err != nil {
		return "", err
	}
	digest, err := s.rt.Kinds().ModuleNamed(kind, version)
	return hex.EncodeToString(digest[:]), err
}

// kindOfDaemon is the kind of the request's daemon, wherever that is.
func (s *Server) kindOfDaemon(r *http.Request) (string, error) {
	id, at, err := s.find.Locate(r, r.PathValue("ref"))
	if err != nil {
		return "", err
	}
	if at == s.mesh.Self() {
		i, err := s.rt.Daemons().Inspect(id)
		var moved *daemon.MovedError
		if !errors.As(err, &moved) {
			return i.Kind, err
		}
		at = moved.Node
	}
	if at, err = s.find.Proven(r.Context(), id, at); err != nil {
		return "", err
	}
	d, err := locate.PeerClient(s.mesh, at).Daemons().Get(r.Context(), id.String())
	return d.Kind, err
}

// takeModule has this node have the module that a peer asked it to run, from that peer or
// another one, if they may push kinds to it. daemon.ErrModuleNotFound where none has it.
func (s *Server) takeModule(ctx context.Context, kind string, digest [32]byte) error {
	missing := fmt.Errorf("%w: %x, of no node that may push kinds to this one", daemon.ErrModuleNotFound, digest)
	asker, byPeer := wire.PeerOf(ctx)
	if !byPeer || s.rt.Kinds().TakesModules() == 0 {
		return missing
	}
	peers, err := s.mesh.Peers()
	if err != nil {
		return err
	}
	for _, first := range []bool{true, false} {
		for _, p := range peers {
			if (p.ID == asker) != first || p.Rights&trust.RightKinds == 0 {
				continue
			}
			wasm, err := s.pullModule(ctx, p.ID, kind, digest)
			if err == nil {
				err = s.rt.Kinds().AddModule(ctx, wasm)
			}
			if err == nil {
				s.logger.Info("took a module from another node", "kind", kind, "module", hex.EncodeToString(digest[:]), "from", p.ID)
				return nil
			}
			missing = fmt.Errorf("%w; node %s: %w", missing, p.ID, err)
		}
	}
	return missing
}

// pullModule returns the kind's module of that digest that a peer sends.
func (s *Server) pullModule(ctx context.Context, from identity.NodeID, kind string, digest [32]byte) ([]byte, error) {
	r, err := locate.PeerClient(s.mesh, from).Kinds().PullModule(ctx, kind, digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	most := s.rt.Kinds().TakesModules()
	wasm, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(wasm)) > most:
		return nil, fmt.Errorf("%w: a module of more than %d bytes", daemon.ErrTooLarge, most)
	case sha256.Sum256(wasm) != digest:
		return nil, fmt.Errorf("%w: another module comes than it says", daemon.ErrModuleNotFound)
	}
	return wasm, nil
}
