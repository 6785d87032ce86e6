// A program that runs from a mount of its own file which is read-only and has no name.
//
// Processes that the runtime starts inside a container are, for a moment, the runtime: through /proc/<pid>/exe a container's
// root could open its file and write to it later (CVE-2019-5736). Run from a private read-only mount, that write is refused.
#pragma once

namespace starling {

// Executes this program again, from such a mount, unless it runs from one. Returns 0 then, or else a negative errno.
// Makes system calls and nothing else, so that it can be called before the C library is ready.
long RunFromReadonlyMount(char** argv, char** variables);

}  // namespace starling
