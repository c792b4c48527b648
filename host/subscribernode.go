package host

import (
	"context"
	"errors"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Subscriptions returns the subscriptions of this node's daemons.
func (r *Runtime) Subscriptions() *subscriber.Subscriber { return r.subscriber }

// subscriberOf gives the subscriber of a runtime its daemons.
type subscriberOf struct{ rt *Runtime }

// Change begins to change the daemon's subscriptions.
func (o subscriberOf) Change(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string, add bool) (*channel.Binding, func(), error) {
	r := o.rt
	if err := r.ready(); err != nil {
		return nil, nil, err
	}
	d, err := r.find(id)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(identity.ValidChannel(name), r.room()); err != nil {
		return nil, nil, err
	}

	return d.Subscriptions().BeginBinding(ctx, publisher, name, add)
}

// Bind records a subscription, durably.
func (o subscriberOf) Bind(ctx context.Context, id identity.EntityID, b channel.Binding, keep bool) error {
	d, err := o.rt.find(id)
	if err != nil {
		return err
	}
	t, err := d.Subscriptions().Bind(ctx, b, keep)
	if err != nil {
		return err
	}
	return t.Wait(ctx)
}

// Unbind forgets a subscription, durably.
func (o subscriberOf) Unbind(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string) error {
	d, err := o.rt.find(id)
	if err != nil {
		return err
	}
	t, err := d.Subscriptions().Unbind(ctx, publisher, name)
	if err != nil {
		return err
	}
	return t.Wait(ctx)
}

// Bindings returns the daemon's subscriptions.
func (o subscriberOf) Bindings(id identity.EntityID) ([]channel.Binding, error) {
	d, err := o.rt.find(id)
	if err != nil {
		return nil, err
	}
	return d.Subscriptions().Bindings()
}

// Residence is the daemon's word that it is on this node; nil where its key is
// not here.
func (o subscriberOf) Residence(ctx context.Context, id identity.EntityID) ([]byte, error) {
	d, err := o.rt.find(id)
	if err != nil {
		return nil, err
	}
	if err := d.Attend(ctx); err != nil {
		return nil, err
	}
	defer d.Unlock()
	if !d.Position().Key.CanSign() {
		return nil, nil
	}
	return channel.NewResidence(d.Position().Key, o.rt.env.Self, d.Position().Epoch)
}

// startAllSubscriptions goes on with those of all daemons that serve here.
func (r *Runtime) startAllSubscriptions() {
	all := r.table.Daemons()

	for _, d := range all {
		if d.IsUnread() {
			continue // they go on when it is read
		}
		d.Lock()
		list := d.Position().Ledger.All()
		serves := d.Position().State.Serves()
		d.Unlock()
		if serves {
			r.subscriber.Start(d.Entity(), list)
		}
	}
}
