// The small init that a task may ask for (ContainerSpec.init): PID 1 that forwards signals and reaps orphans.
#pragma once

namespace starling {

// Returns in a new child, which goes on to become the program. PID 1 stays here: it closes every descriptor above 2,
// passes every signal on to the child's process group, reaps whatever ends, and ends with the child's exit code (128 + n
// for signal n).
void ForkFromInit();

}  // namespace starling
