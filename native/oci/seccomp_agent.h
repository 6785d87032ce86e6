// SCMP_ACT_NOTIFY: hands the filter's notification descriptor to the agent that the config names.
#pragma once

#include "../base/result.h"
#include "seccomp_config.h"
#include "store.h"

namespace starling::oci {

// Sends the container process state (runtime-spec, config-linux) with `listener` over `listenerPath`.
Status TellSeccompAgent(const SeccompConfig& config, const Record& record, int listener);

}  // namespace starling::oci
