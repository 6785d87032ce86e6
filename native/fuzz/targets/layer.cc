// Whole layers written to a folder, over lower layers or without: nothing outside the folder may change.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../sys/fs.h"
#include "../../unpack/applier.h"
#include "input.h"
#include "memory_source.h"
#include "tar_mutator.h"

namespace starling::fuzz {
namespace {

// A tmpfs that only this process sees: it ends with it, whatever ends it.
//   outside     what a layer may try to change
//   lower       what lies below the layer
//   root        the layer's folder
class Scene {
 public:
  Scene() {
    char name[] = "/tmp/starling-fuzz-XXXXXX";
    Require(unshare(CLONE_NEWNS) == 0, "a mount namespace can be made (root?)");
    Require(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mounts can be private");
    Require(mkdtemp(name) != nullptr, "a folder can be made");
    folder_ = name;
    Require(mount("tmpfs", name, "tmpfs", 0, "size=64m") == 0, "a tmpfs can be mounted");
    Require(fs::MakeFolders(folder_ + "/lower/a/b").ok() && fs::MakeFolders(folder_ + "/lower/etc").ok(), "lower layers can be made");
    Require(symlink("../../outside", (folder_ + "/lower/a/up").c_str()) == 0, "a link can be made");
    Require(symlink((folder_ + "/outside").c_str(), (folder_ + "/lower/abs").c_str()) == 0, "a link can be made");
    Require(fs::ReplaceFile(folder_ + "/lower/etc/passwd", "root:x:0:0::/:/bin/sh\n", 0644).ok(), "a file can be made");
    Require(fs::MakeFolders(folder_ + "/outside").ok(), "a folder can be made");
    Require(fs::ReplaceFile(folder_ + "/outside/file", "untouched", 0600).ok(), "a file can be made");
    parent_.reset(open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    outside_ = Look("outside");
    file_ = Look("outside/file");
  }
  ~Scene() {
    umount2(folder_.c_str(), MNT_DETACH);
    rmdir(folder_.c_str());
  }

  void Apply(std::string_view archive, bool has_lower) {
    Require(mkdirat(parent_.get(), "root", 0755) == 0, "a folder can be made");
    LayerStream stream(std::make_unique<MemorySource>(archive), 1 << 20);
    TarReader tar(stream);
    UniqueFd lower(has_lower ? openat(parent_.get(), "lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1);
    UniqueFd root(openat(parent_.get(), "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    {
      LayerApplier applier(std::move(root), std::move(lower), {200, 1 << 20});
      (void)applier.Apply(tar).ok();
    }
    Require(Same(outside_, Look("outside")) && Same(file_, Look("outside/file")), "what lies outside is as it was");
    Status removed = RemoveAll(parent_.get(), "root");
    Require(removed.ok(), "a layer can be removed");
  }

 private:
  struct stat Look(const char* name) const {
    struct stat info;
    Require(fstatat(parent_.get(), name, &info, AT_SYMLINK_NOFOLLOW) == 0, "what lies outside is there");
    return info;
  }
  // A new link, name, owner, mode or content would change one of these.
  static bool Same(const struct stat& a, const struct stat& b) {
    return a.st_ino == b.st_ino && a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid && a.st_nlink == b.st_nlink &&
           a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
  }

  std::string folder_;
  UniqueFd parent_;
  struct stat outside_;
  struct stat file_;
};

}  // namespace
}  // namespace starling::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return starling::fuzz::MutateTar(data, size, max_size, seed, 1);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  static fuzz::Scene scene;
  fuzz::Input input(data, size);
  bool has_lower = input.Choice(2) == 1;
  scene.Apply(input.Rest(), has_lower);
  return 0;
}
