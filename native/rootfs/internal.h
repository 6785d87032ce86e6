// Steps of Enter, shared by the files of this folder.
#pragma once

#include <string>

#include "../sys/unique_fd.h"
#include "rootfs.h"

namespace starling::rootfs {

// After pivot_root: opens `target` below the new root with O_PATH, making what is missing (a folder, or an empty file
// when `as_file`). Refuses targets inside /proc, and paths through magic links.
Result<UniqueFd> OpenTarget(const std::string& target, bool as_file);

// "/proc/self/fd/N"
std::string FdPath(const UniqueFd& fd);

// Attaches the detached mount `tree` to `target`.
Status AttachTree(const UniqueFd& tree, const UniqueFd& target, const std::string& name);

// Sets and clears MOUNT_ATTR_… of a mount (kernel ≥ 5.12).
Status SetMountAttributes(int fd, uint64_t set, bool recursive, const std::string& name);

// Copies the mount of `mount.source`, with its attributes, while the host's root is in sight and before the mounts of
// this namespace are cut off from the host's: shared ones must stay in their peer group.
Result<UniqueFd> CloneTree(const Mount& mount);

// Copies everything below the folder `from` into the folder `to`: owners, modes, times, extended attributes, links and
// device nodes; the folder's own owner, mode and attributes too. Does nothing unless `to` is empty.
Status FillFolder(int from, int to, const std::string& name);

// /dev with its nodes and links, and devices elsewhere. REQUIRES: the container's root is this process's.
Status MakeDevices(const Plan& plan);

// /proc, /sys and what is below /dev; /dev itself, too, unless there is a user namespace.
Status MountKernelFileSystems(const Plan& plan);

// What MountKernelFileSystems has put at /dev/null. Call before anything else is mounted.
Result<UniqueFd> OpenNullDevice();

// sysctls, then hides and protects paths. Last step that needs a writable /proc/sys. `null_device` hides files.
Status Protect(const Plan& plan, const UniqueFd& null_device);

}  // namespace starling::rootfs
