package server

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/backup"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Bounds on what asks for a backup.
const (
	maxBackup = 20 << 20 // bytes of a request for a backup
	maxHolder = 4096     // bytes of what names the holder
)

// backups is what a node's backups are made of.
type backups struct {
	store       *store.Store
	key         *identity.KeyPair
	incarnation uint64
}

// ServeBackups makes the server give backups of the store, with the node's key
// sealed in them. incarnation is how often the node was restored. It is called
// before the server serves.
func (s *Server) ServeBackups(st *store.Store, key *identity.KeyPair, incarnation uint64) {
	s.backups = &backups{st, key, incarnation}
}

// postBackup streams a backup. All that was acknowledged before the request is in it.
func (s *Server) postBackup(w http.ResponseWriter, r *http.Request) error {
	b, err := web.ReadAll(w, r, maxBackup)
	if err != nil {
		return err
	}
	var req api.Backup
	if err := web.ParseJSON(b, &req); err != nil {
		return err
	}
	if s.backups == nil {
		return problem.ErrNoBackup
	}
	recipient, has, err := backupTo(&req)
	if err != nil {
		return err
	}
	c, err := s.backups.store.Checkpoint()
	if errors.Is(err, store.ErrEphemeral) {
		return problem.ErrNoBackup
	}
	if err != nil {
		return err
	}
	defer func() {
		if err := c.Close(); err != nil {
			s.logger.Warn("after a backup", "error", err)
		}
	}()
	m, err := s.manifest(c, &req)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	err = backup.Send(r.Context(), w, c, m, func(digest string) bool { return has[digest] }, func(m *backup.Manifest) error { return m.Seal(s.backups.key, recipient) })
	if err != nil {
		s.logger.Warn("a backup ended early", "backup", m.ID, "error", err)
		panic(http.ErrAbortHandler) // cut the stream: the client must not take it for whole
	}
	s.logger.Info("a backup was made", "backup", m.ID, "files", len(m.Files), "bytes", m.Size())
	return nil
}

// backupTo returns to whom a backup is sealed, and which files are held already.
func backupTo(req *api.Backup) (identity.SealKey, map[string]bool, error) {
	var to identity.SealKey
	b, err := hex.DecodeString(req.Recipient)
	if err != nil || to.UnmarshalBinary(b) != nil {
		return to, nil, fmt.Errorf("%w: recipient is 64 hexadecimal digits, not %.80q", api.ErrBadRequest, req.Recipient)
	}
	if len(req.Holder) > maxHolder || len(req.Have) > api.MaxHave || len(req.Parent) > 64 {
		return to, nil, fmt.Errorf("%w: holder has at most %d bytes, have at most %d digests, parent at most 64 bytes", api.ErrBadRequest, maxHolder, api.MaxHave)
	}
	has := make(map[string]bool, len(req.Have))
	for _, d := range req.Have {
		has[d] = true
	}
	return to, has, nil
}

// manifest is that of the checkpoint, without the files' digests.
func (s *Server) manifest(c *store.Checkpoint, req *api.Backup) (*backup.Manifest, error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	m := &backup.Manifest{Version: backup.Version, ID: fmt.Sprintf("%s%03dZ-%x", now.Format("20060102T150405"), now.UnixMilli()%1000, random), Parent: req.Parent, Created: now,
		NodeID: s.mesh.Self().String(), NodeName: s.mesh.Name(), Addr: s.mesh.Reach(), Incarnation: s.backups.incarnation, Program: s.version,
		Key: backup.SealedKey{Recipient: req.Recipient, Holder: req.Holder}}
	files, err := c.Files()
	if err != nil {
		return nil, err
	}
	if len(files) > backup.MaxFiles {
		return nil, fmt.Errorf("the data directory has %d files; a backup has at most %d", len(files), backup.MaxFiles)
	}
	for _, f := range files {
		m.Files = append(m.Files, backup.File{Path: f.Path, Size: f.Size})
	}
	return m, nil
}
