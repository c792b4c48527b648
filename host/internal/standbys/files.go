package standbys

import (
	"fmt"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// States that are files of their own come to a standby before the batch that speaks of
// them.

// arrivingFile is one that comes.
type arrivingFile struct {
	*store.StateFile
	whole bool
}

// maxArriving is how many may be here that no batch has taken.
const maxArriving = 4

func (in *receiving) takeFile(m *standby.File) error {
	d := store.Digest(m.Digest)
	f := in.files[d]
	if f == nil {
		if len(in.files) == maxArriving {
			return fmt.Errorf("%w: more than %d states that nothing speaks of", standby.ErrBadMessage, maxArriving)
		}
		file, err := in.set.env.Store.NewState(in.s.id)
		if err != nil {
			return err
		}
		if in.files == nil {
			in.files = make(map[store.Digest]*arrivingFile)
		}
		f = &arrivingFile{StateFile: file}
		in.files[d] = f
	}
	if f.whole {
		return fmt.Errorf("%w: more of a state that is whole", standby.ErrBadMessage)
	}
	if f.Size()+int64(len(m.Bytes)) > snapshot.MaxStored { // a daemon's own limit may be above the node's
		return fmt.Errorf("%w: a state of more than %d bytes", daemon.ErrStateTooLarge, int64(snapshot.MaxStored))
	}
	if _, err := f.Write(m.Bytes); err != nil {
		return err
	}
	if f.whole = m.Last; m.Last && f.Digest() != d {
		return fmt.Errorf("%w: state %x came for %x", standby.ErrBadMessage, f.Digest(), d)
	}
	return nil
}

// batch makes the batch that the message asks for, with the files that it speaks of, which
// are durable when it returns. Where there is an error the files stay in.files.
func (in *receiving) batch(m *standby.Batch) (*store.Batch, error) {
	b := &store.Batch{}
	var took []store.Digest
	for i := range m.Parts {
		var file *store.StateFile
		if d, apart := snapshot.FileOf(&m.Parts[i]); apart {
			f := in.files[d]
			if f == nil || !f.whole || slices.Contains(took, d) {
				return nil, fmt.Errorf("%w: a state whose file has not come", standby.ErrBadMessage)
			}
			file, took = f.StateFile, append(took, d)
		}
		if err := b.AddPartFile(in.s.id, m.Parts[i], file); err != nil {
			return nil, fmt.Errorf("%w: %w", standby.ErrBadMessage, err)
		}
	}
	if err := b.Finish(); err != nil { // else others would wait for it
		return nil, err
	}
	for _, d := range took {
		delete(in.files, d)
	}
	return b, nil
}

// discard removes what no batch has taken.
func (in *receiving) discard() {
	for _, f := range in.files {
		f.Discard()
	}
}
