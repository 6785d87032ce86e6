// The sockets of a container's name server. swarmd answers on them, but the shim holds them: queries that come while swarmd
// is away wait in them, and are answered when it is back.
#pragma once

#include <sys/types.h>

#include "../base/result.h"

namespace starling {

// Descriptors that a swarmd takes over by pidfd_getfd: part of the shim's protocol.
constexpr int kUdpNameSocket = 250;
constexpr int kTcpNameSocket = 251;

// Binds both, in the network namespace of `container`, to 127.0.0.11 and ports that the kernel chooses.
// REQUIRES: the process has one thread, as it enters the namespace for a moment.
Status HoldNameSockets(pid_t container);

}  // namespace starling
