// Package known is what a node knows of the cluster: the objects that its name server,
// its service proxy, its proxy for Ingresses and its routes are made of. Each kind is
// read from the API once, for all of them, and kept on the disk for a start of the agent
// while the API is away.
//
//	API ─ list, watch ─▶ Kind ─┬─▶ followers: names, Services, Ingresses, routes
//	                      ▲    └─▶ journal: known.db, what changed, once a second
//	known.db ─ at start ──┘
//
// [Cluster] has a [Kind] for each sort of objects; [Kind.Follow] hands its objects to a
// store, first all of them, and then each change. What was kept holds until the API
// answers, whose list then takes its place; [Kind.FollowAPI] waits for that.
//
// There are no Secrets in it. A file that is damaged, or that is of another cluster, is
// told of and begun anew.
//
// Concurrency: [Cluster.Run] owns what follows the API and what writes the file, and
// waits for it. A follower is called by one goroutine at a time, and must not call back.
package known
