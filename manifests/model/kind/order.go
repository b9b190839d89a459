package kind

// Order is the place of a kind among the kinds that one commit applies, and the
// other way round among those that it deletes, as kustomize and Flux sort them:
// what others are made in or refer to comes first, what intercepts their creation
// last. Those that kustomize knows are ten apart, in its order.
type Order int

// Anywhere is the place of the kinds that neither refer to others nor are
// referred to, which lies between the first and the last; 0 is no place.
const Anywhere Order = 1000
