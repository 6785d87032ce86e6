// Terminals of containers: handed to whoever listens on a console socket, or joined to this process's own.
#pragma once

#include <string>

#include "../base/result.h"

namespace starling::oci {

// Sends the master over the SOCK_STREAM socket at `path`, as --console-socket promises.
Status SendTerminal(const std::string& path, int master);

// Waits for the child `pid` and gives its exit code (128 + n for signal n). Meanwhile every signal that this process gets
// goes to it, and with `master` ≥ 0 stdin and stdout are joined to the terminal, raw while this lasts.
// REQUIRES: BlockSignals was called before the child was made.
int AwaitProgram(pid_t pid, int master);

// Blocks what AwaitProgram will read.
void BlockSignals();

}  // namespace starling::oci
