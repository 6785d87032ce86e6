// The programs of shortcut.bpf.c and their maps, loaded; who attaches them to devices (RTM_NEWTFILTER) has the kernel hold both.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bpf.h"

namespace starling::net {

class Shortcut {
 public:
  // In the order that numbers them (shortcut.ts).
  static constexpr const char* kPrograms[] = {"starling_from_task", "starling_from_vxlan"};
  static constexpr const char* kMaps[] = {"ports", "vxlans"};

  // Throws std::runtime_error when the kernel or libbpf does not let us. `object`: compiled shortcut.bpf.c.
  explicit Shortcut(const std::string& object);

  const FilledMaps& maps() const { return maps_; }

  // Its descriptor, which is this object's, and what names it in the kernel.
  int ProgramFd(unsigned program) const;
  uint32_t ProgramId(unsigned program) const;

 private:
  BpfObject object_;
  FilledMaps maps_;
};

}  // namespace starling::net
