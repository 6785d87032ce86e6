#include "root.h"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "../sys/fs.h"

namespace starling::oci {
namespace {

Status SetReadonly(int fd, uint64_t attributes, bool recursive, const std::string& name) {
  mount_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.attr_set = attributes;
  unsigned flags = AT_EMPTY_PATH | (recursive ? static_cast<unsigned>(AT_RECURSIVE) : 0U);
  if (mount_setattr(fd, "", flags, &attr, sizeof attr) != 0) return Error::Errno("mount_setattr", name);
  return {};
}

Result<UniqueFd> CloneOf(int fd) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
  UniqueFd tree(open_tree(fd, "", flags));
  if (!tree) return Error::Errno("open_tree", "");
  return tree;
}

Status Attach(int tree, int target, const std::string& name) {
  if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) return Error::Errno("mount on", name);
  return {};
}

// Covers files with the host's null device. Its one detached copy goes to the first file, copies of that where it lies to
// the others: a copy that is attached nowhere would make its last closer wait for an RCU grace period.
class FileMask {
 public:
  explicit FileMask(UniqueFd null_device) : null_device_(std::move(null_device)) {}

  Status Cover(const UniqueFd& target, const std::string& path) {
    if (attached_) {
      STARLING_ASSIGN(copy, CloneOf(null_device_.get()));
      return Attach(copy.get(), target.get(), path);
    }
    STARLING_TRY(Attach(null_device_.get(), target.get(), path));
    attached_ = true;
    return {};
  }

 private:
  UniqueFd null_device_;
  bool attached_ = false;
};

Status Mask(const std::string& path, FileMask& file_mask) {
  UniqueFd target(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!target) return errno == ENOENT || errno == ENOTDIR ? Status() : Status(Error::Errno("linux.maskedPaths", path));
  struct stat info;
  if (fstat(target.get(), &info) != 0) return Error::Errno("stat", path);
  if (S_ISDIR(info.st_mode)) {
    std::string at = "/proc/self/fd/" + std::to_string(target.get());
    // Without /proc in the container there is no such name: by path then.
    const char* where = access(at.c_str(), F_OK) == 0 ? at.c_str() : path.c_str();
    if (mount("tmpfs", where, "tmpfs", MS_RDONLY, "size=0k") == 0) return {};
    return Error::Errno("linux.maskedPaths: mask", path);
  }
  return file_mask.Cover(target, path);
}

Status MakeReadonly(const std::string& path) {
  UniqueFd target(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!target) return errno == ENOENT || errno == ENOTDIR ? Status() : Status(Error::Errno("linux.readonlyPaths", path));
  STARLING_ASSIGN(tree, CloneOf(target.get()));
  STARLING_TRY(SetReadonly(tree.get(), MOUNT_ATTR_RDONLY, true, path));
  return Attach(tree.get(), target.get(), path);
}

}  // namespace

Status AttachRoot(const Config& config, const UniqueFd& tree) {
  bool follows = (config.root_propagation & static_cast<unsigned long>(MS_SLAVE | MS_SHARED)) != 0;
  unsigned long propagation = follows ? MS_SLAVE : MS_PRIVATE;
  if (mount(nullptr, "/", nullptr, propagation | MS_REC, nullptr) != 0) return Error::Errno("mount propagation", "/");
  UniqueFd target(open(config.root_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!target) return Error::Errno("root.path", config.root_path);
  return Attach(tree.get(), target.get(), config.root_path);
}

Status Pivot(int root) {
  if (fchdir(root) != 0) return Error::Errno("chdir", "root.path");
  // pivot_root(2), "pivot_root(".", ".")": the old root ends stacked under the new one and is detached from there.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return Error::Errno("pivot_root", "root.path");
  if (umount2(".", MNT_DETACH) != 0) return Error::Errno("umount", "old root");
  if (chdir("/") != 0) return Error::Errno("chdir", "/");
  return {};
}

Status Protect(const Config& config, UniqueFd null_device) {
  FileMask file_mask(std::move(null_device));
  for (const std::string& path : config.masked_paths) STARLING_TRY(Mask(path, file_mask));
  for (const std::string& path : config.readonly_paths) STARLING_TRY(MakeReadonly(path));
  UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return Error::Errno("open", "/");
  if (config.root_readonly) STARLING_TRY(SetReadonly(root.get(), MOUNT_ATTR_RDONLY, false, "/"));
  if (config.root_propagation != 0 && mount(nullptr, "/", nullptr, config.root_propagation, nullptr) != 0) {
    return Error::Errno("linux.rootfsPropagation", "/");
  }
  return {};
}

Status WriteSysctls(const Config& config) {
  if (config.sysctls.empty()) return {};
  struct statfs info;
  if (statfs("/proc/sys", &info) != 0 || info.f_type != PROC_SUPER_MAGIC) return Error{"/proc: is not procfs", EINVAL};
  for (const auto& [name, value] : config.sysctls) {
    std::string path = "/proc/sys/";
    for (char c : name) path.push_back(c == '.' ? '/' : c == '/' ? '.' : c);
    if (Status written = fs::WriteControl(path, value); !written.ok()) {
      return Error{"linux.sysctl[\"" + name + "\"]: " + written.error().message, written.error().number};
    }
  }
  return {};
}

}  // namespace starling::oci
