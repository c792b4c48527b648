package convert

import (
	"slices"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// CopyOf returns a copy of a daemon as the API shows it; index is that of the copy's last
// record.
func CopyOf(c host.Copy, index uint64) api.Copy {
	role := "standby"
	if c.Owned {
		role = "owner"
	}
	return api.Copy{Entity: c.Entity.String(), Name: c.Name, Role: role, Epoch: c.Epoch, Index: index, InSync: c.InSync, Whole: c.Whole, State: c.State}
}

// HostCopy returns the copy as package host has it.
func HostCopy(c *api.Copy) (out host.Copy, err error) {
	out = host.Copy{Name: c.Name, Owned: c.Role == "owner", Epoch: c.Epoch, Index: c.Index, InSync: c.InSync, Whole: c.Whole, State: c.State}
	out.Entity, err = identity.ParseEntityID(c.Entity)
	return out, err
}

// DirectoryDaemon returns what was known as package directory has it.
func DirectoryDaemon(k *api.KnownDaemon) (d directory.Daemon, err error) {
	d = directory.Daemon{Name: k.Name, Epoch: k.Epoch, Want: k.Want}
	if d.Entity, err = identity.ParseEntityID(k.Entity); err != nil {
		return d, err
	}
	if d.Owner, err = identity.ParseNodeID(k.Owner); err != nil {
		return d, err
	}
	if d.Ack, err = directory.ParseAck(k.Ack); err != nil {
		return d, err
	}
	for _, text := range k.InSync {
		n, err := identity.ParseNodeID(text)
		if err != nil {
			return d, err
		}
		d.Standbys = append(d.Standbys, n)
	}
	slices.Sort(d.Standbys)
	b, err := d.MarshalBinary() // holds it to the bounds of the directory's records
	if err != nil {
		return d, err
	}
	return d, d.UnmarshalBinary(b)
}
