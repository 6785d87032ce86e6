#include "cpu_list.h"

#include <sched.h>

#include <charconv>

#include "../sys/fs.h"

namespace starling::oci {

Result<cpu_set_t> ParseCpuList(std::string_view list) {
  cpu_set_t set;
  CPU_ZERO(&set);
  auto refuse = [&] { return Error{"process.execCPUAffinity `" + std::string(list) + "`: must be a list like 0-3,7", EINVAL}; };
  for (std::string_view part : fs::Split(list, ',')) {
    while (part.starts_with(' ')) part.remove_prefix(1);
    unsigned first = 0;
    auto [at, problem] = std::from_chars(part.data(), part.data() + part.size(), first);
    if (problem != std::errc()) return refuse();
    unsigned last = first;
    const char* end = part.data() + part.size();
    if (at != end && *at == '-') {
      auto range = std::from_chars(at + 1, end, last);
      at = range.ptr;
      problem = range.ec;
    }
    if (problem != std::errc() || at != end || last < first || last >= CPU_SETSIZE) return refuse();
    for (unsigned cpu = first; cpu <= last; cpu++) CPU_SET(cpu, &set);
  }
  return set;
}

Status BindToCpus(const std::string& list) {
  STARLING_ASSIGN(set, ParseCpuList(list));
  if (sched_setaffinity(0, sizeof set, &set) != 0) return Error::Errno("process.execCPUAffinity: sched_setaffinity", list);
  return {};
}

}  // namespace starling::oci
