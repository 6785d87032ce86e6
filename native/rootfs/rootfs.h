// A container's root file system, built by its init inside its own mount namespace: overlayfs over unpacked layers (or a
// plain folder), pivot_root, the kernel file systems, devices, binds and tmpfs. Because every mount lives in that
// namespace alone, the end of the last process inside leaves no mount on the host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../base/result.h"

namespace starling::rootfs {

struct Root {
  // Unpacked layers, topmost first; empty: `folder` is the root itself.
  std::vector<std::string> layers;
  // Folders of one file system, for what the container writes and for overlayfs' own use. REQUIRED with layers.
  std::string upper;
  std::string work;
  // Where the overlay is mounted (an empty folder), or the root itself.
  std::string folder;
  bool read_only = false;
};

struct Mount {
  enum class Kind { kBind, kTmpfs };
  Kind kind = Kind::kBind;
  // kBind: an existing file or folder of the host.
  std::string source;
  // Absolute, in the container. Missing folders and files are made. Symbolic links are followed inside the root only.
  std::string target;
  bool read_only = false;
  // kBind: with the mounts below it.
  bool recursive = true;
  bool no_exec = false;
  // kTmpfs: bytes, 0: the kernel's default (half of memory); mode of its root folder.
  int64_t size_bytes = 0;
  uint32_t mode = 01777;
};

struct Plan {
  Root root;
  std::vector<Mount> mounts;
  // Size of /dev/shm in bytes.
  int64_t shm_bytes = 64 << 20;
  // Namespaced sysctls: "net.ipv4.ip_unprivileged_port_start" → "0". Written before /proc/sys turns read-only.
  std::vector<std::pair<std::string, std::string>> sysctls;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  bool tty = false;
};

// Paths that OCI runtimes hide from containers or show read-only.
std::vector<std::string> DefaultMaskedPaths();
std::vector<std::string> DefaultReadonlyPaths();

// Turns this process's root into the container's. REQUIRES: own mount, PID, network, IPC and cgroup namespaces,
// CAP_SYS_ADMIN, single-threaded. On error the process is useless and must end.
Status Enter(const Plan& plan);

}  // namespace starling::rootfs
