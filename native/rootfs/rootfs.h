// A container's root file system, built inside its own mount namespace: overlayfs over unpacked layers (or a plain folder),
// pivot_root, the kernel file systems, devices, binds and tmpfs. Because every mount lives in that namespace alone, the end
// of the last process inside leaves no mount on the host.
//
// In a user namespace owners are mapped at the mounts: layers, what the container writes and volumes lie on disk as they do
// without one, so that a container may have it today and not tomorrow (overlayfs takes mapped layers from kernel 5.19 on).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../base/result.h"
#include "../sys/id_map.h"
#include "../sys/unique_fd.h"

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

enum class Propagation { kPrivate, kRecursivePrivate, kShared, kRecursiveShared, kSlave, kRecursiveSlave };

struct Mount {
  enum class Kind { kBind, kTmpfs, kFileSystem };
  Kind kind = Kind::kBind;
  // kBind: an existing file or folder of the host. kFileSystem: what mount(2) takes as source.
  std::string source;
  // kBind: what lies there below the folder `source`; no part of it may be a symbolic link, since a container that has
  // all of `source` could make it lead elsewhere.
  std::string sub_path;
  // kFileSystem: "nfs", "ext4", …; options as the file system itself takes them ("addr=10.0.0.1,vers=4").
  std::string file_system;
  std::string options;
  // Absolute, in the container. Missing folders and files are made. Symbolic links are followed inside the root only.
  std::string target;
  bool read_only = false;
  // kBind: with the mounts below it.
  bool recursive = true;
  // kBind, read-only: mounts below it stay writable.
  bool read_only_top = false;
  bool no_exec = false;
  // kBind. Shared ways ask for a source that lies on a shared mount of the host, mount_namespaces(7).
  Propagation propagation = Propagation::kRecursivePrivate;
  // kBind: its owners are numbers of the container, where that has a user namespace; else they are the host's.
  bool map_ids = false;
  // kBind: what the image has at `target` is copied to `source` when that is an empty folder.
  bool fill = false;
  // kTmpfs: bytes, 0: the kernel's default (half of memory); mode of its root folder.
  int64_t size_bytes = 0;
  uint32_t mode = 01777;
};

struct Device {
  // Absolute, in the container; one below /dev, or anywhere else.
  std::string path;
  bool block = false;
  unsigned major = 0;
  unsigned minor = 0;
  uint32_t mode = 0660;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct Plan {
  Root root;
  // Of the container's user namespace; empty: it has the host's.
  IdMaps ids;
  std::vector<Mount> mounts;
  // Made besides the usual ones of /dev. Whether they may be opened is the cgroup's matter.
  std::vector<Device> devices;
  // /sys and /sys/fs/cgroup can be written to.
  bool writable_sys = false;
  // Of the host, whose POSIX shared memory is /dev/shm then.
  bool host_ipc = false;
  // sysctls of net.* are the host's: refused.
  bool host_network = false;
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

// What Enter needs of the host, taken while that is in sight.
struct Sources {
  // Detached mounts of binds and file systems, one for each of the plan's mounts; invalid for tmpfs.
  std::vector<UniqueFd> trees;
  UniqueFd host_shm;
};

// First half: mounts the root at its folder, which becomes the working folder, and fetches what will be mounted in it. With
// `ids`, devices are made, too: inside nobody may. REQUIRES: an own mount namespace, CAP_SYS_ADMIN and CAP_MKNOD of the host's user
// namespace, single-threaded.
Result<Sources> Prepare(const Plan& plan);

// Second half: turns this process's root into the container's. REQUIRES: Prepare was here, or in the process that made this one and
// its user namespace, whose root this one is; own mount, PID, network, IPC and cgroup namespaces. On error the process is useless
// and must end.
Status Enter(const Plan& plan, Sources sources);

}  // namespace starling::rootfs
