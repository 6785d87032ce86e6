// Options of a mount in config.json, sorted by who takes them: the kernel's flags, attributes of the mount, propagation,
// and the file system itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace starling::oci {

struct MountOptions {
  // MS_… for mount(2) of a new file system, and for the attributes of a bind.
  unsigned long set = 0;
  unsigned long cleared = 0;
  // MOUNT_ATTR_… for mount_setattr(2) with AT_RECURSIVE ("rro", "rnosuid").
  uint64_t recursive_set = 0;
  uint64_t recursive_cleared = 0;
  // MS_SHARED … in the order given, each perhaps | MS_REC.
  std::vector<unsigned long> propagation;
  bool bind = false;
  bool recursive_bind = false;
  bool idmap = false;
  bool recursive_idmap = false;
  // Contents of the folder below are copied into a new tmpfs.
  bool copy_up = false;
  // The rest, joined by commas: the file system's own.
  std::string data;
};

MountOptions ParseMountOptions(const std::vector<std::string>& options);

// MOUNT_ATTR_… of MS_… flags, for what both know.
uint64_t MountAttributes(unsigned long flags);

// "rslave" → MS_SLAVE | MS_REC; 0 for anything else.
unsigned long PropagationFlags(const std::string& name);

}  // namespace starling::oci
