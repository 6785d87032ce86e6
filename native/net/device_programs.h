// Programs of an eBPF object that see what comes in by a device, and their maps, loaded; who attaches them to devices (RTM_NEWTFILTER)
// has the kernel hold both.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bpf.h"

namespace starling::net {

class DevicePrograms {
 public:
  // `object`: a compiled file; names of its programs and maps, in the order that numbers them. Throws std::runtime_error when the
  // kernel or libbpf does not let us, or lacks one.
  DevicePrograms(const std::string& object, std::vector<std::string> programs, const std::vector<std::string>& maps);

  const FilledMaps& maps() const { return maps_; }

  // Its descriptor, which is this object's, and what names it in the kernel.
  int ProgramFd(unsigned program) const;
  uint32_t ProgramId(unsigned program) const;

 private:
  BpfObject object_;
  std::vector<std::string> programs_;
  FilledMaps maps_;
};

}  // namespace starling::net
