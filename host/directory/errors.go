package directory

import "errors"

// ErrBadStandbys says that a daemon cannot have so many standbys.
var ErrBadStandbys = errors.New("the number of standbys is out of bounds")

// ErrNoCluster says that a node is no member of a cluster.
var ErrNoCluster = errors.New("this node is not a member of a cluster: start it with serve --cluster")

// ErrAnswers says that nothing is recovered while the directory answers.
var ErrAnswers = errors.New("the cluster's directory answers: nothing is to be recovered")
