// Package containerd implements what the agent asks of the machine
// ([runtime.Interface]) on containerd: sandboxes (namespaces, cgroup, network) and
// the containers in them. It executes what it is told and reports what there is;
// the decisions are nodes/pod's.
//
// In reading order: [Start] makes a [Runtime], which is put together of four parts
// over one state (state.go): sandboxSet makes what the containers of a pod share,
// with the rooms netns and cgroup; containerSet makes containers (create.go, with the
// rooms images, spec and record), starts and ends them (lifecycle.go, with room
// tasks), and records their exits (events.go); streams runs commands and attaches.
// watch.go follows containerd, offline.go is for another process than the agent.
// Room capture copies what containers print, room daemon keeps the private
// containerd.
//
//	EnsureSandbox ─▶ CreateContainer ─▶ StartContainer ─▶ Running
//	                                                        │ exit event, or
//	    Events ◀── record exit ◀── drain log ◀── delete task ◀┘ resync
//
// Nothing depends on the agent staying alive: containers belong to their shim,
// namespaces are held by bind mounts, what containers print waits in FIFOs, and
// sandboxes and exits are remembered in files. The next Start reads it all back.
//
// What is where:
//
//	<Root>/sandboxes/<uid>/sandbox.json      the sandbox, written when complete
//	<Root>/sandboxes/<uid>/{hosts,…}         mounted into the containers
//	<Root>/sandboxes/<uid>/containers/*.json start and exit of each container
//	<RunDir>/sandboxes/<uid>/{net,ipc,uts}   bind mounts of the namespaces
//	<RunDir>/sandboxes/<uid>/shm             the pod's /dev/shm
//	<RunDir>/sandboxes/<uid>/io/             FIFOs, and how far they are copied
//	<RunDir>/images                          where images are mounted whose files are read
//	<RunDir>/runc                            what runc knows of its containers
//	<Root>/containerd, <RunDir>/containerd   the private containerd
//
// Concurrency: every method may be called from many goroutines. state.mu guards what
// is known of pods and containers and is never held during a call to containerd or
// the kernel; making and removing a pod's sandbox exclude each other by a lock for
// each pod. The goroutine of Runtime.watch owns the event stream; each exit is handled
// in a goroutine of its own, each log stream is copied by one; Close waits for all of
// them.
package containerd
