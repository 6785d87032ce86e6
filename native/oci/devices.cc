#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "../sys/fs.h"
#include "root.h"

namespace starling::oci {
namespace {

const std::vector<Device>& DefaultDevices() {
  static const std::vector<Device> kDevices = {
      {'c', "/dev/null", 1, 3, 0666, 0, 0},   {'c', "/dev/zero", 1, 5, 0666, 0, 0},    {'c', "/dev/full", 1, 7, 0666, 0, 0},
      {'c', "/dev/random", 1, 8, 0666, 0, 0}, {'c', "/dev/urandom", 1, 9, 0666, 0, 0}, {'c', "/dev/tty", 5, 0, 0666, 0, 0},
  };
  return kDevices;
}

constexpr const char* kLinks[][2] = {
    {"/proc/self/fd", "/dev/fd"},       {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
    {"/proc/self/fd/2", "/dev/stderr"}, {"/proc/kcore", "/dev/core"},      {"pts/ptmx", "/dev/ptmx"},
};

mode_t TypeOf(char type) { return type == 'b' ? S_IFBLK : type == 'p' ? S_IFIFO : S_IFCHR; }

Error Named(const Device& device, const Error& error) {
  return Error{"linux.devices `" + device.path + "`: " + error.message, error.number};
}

// In a user namespace mknod is refused: the host's node is bound instead.
Status BindDevice(const Device& device, int root) {
  UniqueFd tree(open_tree(AT_FDCWD, device.path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) return Named(device, Error::Errno("open_tree", "the host's"));
  struct stat info;
  dev_t wanted = makedev(device.major, device.minor);
  if (fstat(tree.get(), &info) != 0 || (info.st_mode & S_IFMT) != TypeOf(device.type) || info.st_rdev != wanted) {
    return Named(device, Error{"the host's node, which a user namespace needs, is another device", ENODEV});
  }
  mount_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  if (mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) return Named(device, Error::Errno("mount_setattr", ""));
  STARLING_ASSIGN(target, OpenBelow(root, device.path, true, true));
  if (move_mount(tree.get(), "", target.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return Named(device, Error::Errno("mount", ""));
  }
  return {};
}

Status MakeDevice(const Device& device, int root) {
  size_t slash = device.path.rfind('/');
  std::string leaf = device.path.substr(slash + 1);
  auto folder = OpenBelow(root, slash == 0 ? "/" : device.path.substr(0, slash), false, true);
  if (!folder.ok()) return Named(device, folder.error());
  mode_t type = TypeOf(device.type);
  dev_t number = device.type == 'p' ? 0 : makedev(device.major, device.minor);
  if (mknodat(folder->get(), leaf.c_str(), type | device.mode, number) != 0) {
    if (errno != EEXIST) return Named(device, Error::Errno("mknod", ""));
    struct stat info;
    if (fstatat(folder->get(), leaf.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return Named(device, Error::Errno("stat", ""));
    if ((info.st_mode & S_IFMT) != type || info.st_rdev != number) return Named(device, Error{"another file is there already", EEXIST});
  }
  if (fchownat(folder->get(), leaf.c_str(), device.uid, device.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return Named(device, Error::Errno("chown", ""));
  }
  // No link: what is there was made or looked at above, by nobody else's process.
  if (fchmodat(folder->get(), leaf.c_str(), device.mode, 0) != 0) return Named(device, Error::Errno("chmod", ""));
  return {};
}

}  // namespace

Status MakeDevices(const Config& config, int root, bool in_user_namespace) {
  // Devices of a bound /dev are the business of whoever bound it.
  bool bound = std::any_of(config.mounts.begin(), config.mounts.end(),
                           [](const Mount& mount) { return mount.destination == "/dev" && mount.options.bind; });
  mode_t old_mask = umask(0);
  std::vector<Device> devices = config.devices;
  for (const Device& standard : DefaultDevices()) {
    bool named = std::any_of(devices.begin(), devices.end(), [&](const Device& other) { return other.path == standard.path; });
    if (!bound && !named) devices.push_back(standard);
  }
  Status made;
  for (const Device& device : devices) {
    if (made.ok()) made = in_user_namespace && device.type != 'p' ? BindDevice(device, root) : MakeDevice(device, root);
  }
  umask(old_mask);
  if (!made.ok() || bound) return made;
  STARLING_ASSIGN(folder, OpenBelow(root, "/dev", false, true));
  for (const auto& link : kLinks) {
    // What the image has there may stay.
    if (symlinkat(link[0], folder.get(), link[1] + 5) != 0 && errno != EEXIST) return Error::Errno("symlink", link[1]);
  }
  return {};
}

}  // namespace starling::oci
