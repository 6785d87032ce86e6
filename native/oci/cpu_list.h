// Lists of CPUs as the kernel writes them: "0-3,7".
#pragma once

#include <sched.h>

#include <string>
#include <string_view>

#include "../base/result.h"

namespace starling::oci {

// The CPUs of `list`, below CPU_SETSIZE. Pure.
Result<cpu_set_t> ParseCpuList(std::string_view list);

// Binds this thread to the CPUs of `list` (sched_setaffinity).
Status BindToCpus(const std::string& list);

}  // namespace starling::oci
