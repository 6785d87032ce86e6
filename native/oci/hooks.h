// Hooks: programs that the config wants run at six points of a container's life, with its state on their stdin.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../base/result.h"
#include "config.h"

namespace starling::oci {

// errno of a hook's failure, to tell it from others.
constexpr int kHookFailed = 125 << 8;

// Runs `hooks` in their order, in this process's namespaces; the first that fails, or outlives its timeout, ends it. Their
// stdout is thrown away: this process's may be the container's.
Status RunHooks(const std::vector<Hook>& hooks, std::string_view kind, std::string_view state);

}  // namespace starling::oci
