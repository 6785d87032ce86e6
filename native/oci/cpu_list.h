// Lists of CPUs as the kernel writes them: "0-3,7".
#pragma once

#include <string>

#include "../base/result.h"

namespace starling::oci {

// Binds this thread to the CPUs of `list` (sched_setaffinity).
Status BindToCpus(const std::string& list);

}  // namespace starling::oci
