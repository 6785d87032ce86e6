// Makes a container in two steps, so that its network can be furnished between them:
//
//     parent (shim)                         child (the container's init)
//     CreateContainer: clone3 ───────────►  joins cgroups, mounts, pivots, looks up user and program
//                      ◄── "R" [terminal] ─ ready, or "E<message>"
//     (interfaces are put into /proc/<pid>/ns/net)
//     StartContainer:  ── "S" ───────────►  drops privileges, execve
//                      ◄── end of file ──── the program runs (the socket is close-on-exec), or "E<message>"
//
// Parent and child are joined by one SOCK_SEQPACKET pair. A parent that dies before "S" ends the child by end of file,
// later by its parent-death signal; with the child, PID 1 of its namespace, everything inside ends.
//
// What takes the host's rights or its network while the container has neither (a user namespace, file systems) is done by a
// helper between the two, in a mount namespace of its own: it prepares the root, makes the init (CLONE_PARENT: a child of the shim
// all the same), tells its pid ("P<pid>"), writes its id maps, lets it go on ("M", on a pair of theirs) and ends.
#pragma once

#include <sys/types.h>

#include "../base/result.h"
#include "../sys/unique_fd.h"
#include "process.h"
#include "spec.h"

namespace starling {

struct Container {
  pid_t pid = 0;
  UniqueFd pidfd;
  UniqueFd sync;
  // With `tty`: the terminal's master.
  UniqueFd terminal;
};

// REQUIRES: `cgroup` was created; this process is single-threaded and the parent that outlives the container.
Result<Container> CreateContainer(const Spec& spec, const cgroup::Cgroup& cgroup, const Stdio& stdio);

// On failure the child has ended or ends by itself; reap it.
Status StartContainer(Container& container);

struct Executed {
  // A child of this process, in the namespaces of the container.
  pid_t pid = 0;
  // With `tty`: its terminal's master, of the container's devpts.
  UniqueFd terminal;
};

// Runs one more program inside. Its descriptors are `stdio`. An unknown program or user is an error, not an exit code.
// `ids`: of the container's user namespace; empty: it has none.
Result<Executed> ExecuteInContainer(const ProcessSpec& process, int container_pidfd, const cgroup::Cgroup& cgroup, const IdMaps& ids,
                                    const Stdio& stdio);

}  // namespace starling
