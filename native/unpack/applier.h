// Writes a layer's entries below one folder, as overlayfs wants a lower layer: whiteouts become character devices 0/0,
// opaque folders carry trusted.overlay.opaque. Names are resolved by FolderWalk: neither `..`, nor absolute names, nor symbolic
// links lead out.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "../base/result.h"
#include "../sys/unique_fd.h"
#include "folder_walk.h"
#include "tar_reader.h"

namespace starling {

struct LayerLimits {
  // Objects of the file system.
  uint64_t entries_max = 5'000'000;
  // Content written or, of a sparse file, laid out.
  uint64_t content_max = UINT64_MAX;
};

struct AppliedLayer {
  uint64_t entries = 0;
  uint64_t content_bytes = 0;
  // The same whatever lies below it. Otherwise it has to be applied with its lower layers.
  bool standalone = true;
  // A hard link whose target neither the layer nor what lies below has. Without lower layers: the first; the entry was
  // passed over.
  std::string missing_link;
};

class LayerApplier {
 public:
  // `root` is the empty folder of the layer, `lower` a view of the lower layers, merged, or none.
  LayerApplier(UniqueFd root, UniqueFd lower, LayerLimits limits = {})
      : root_(std::move(root)), lower_(std::move(lower)), limits_(limits), walk_(root_, lower_) {}

  // Applies the whole archive. Errors name the entry.
  Result<AppliedLayer> Apply(TarReader& tar);

  const UniqueFd& root() const { return root_; }

 private:
  struct Place {
    const Folder* parent;
    std::string name;
    int fd() const { return parent->fd.get(); }
  };
  struct FolderTime {
    std::string path;
    timespec modified;
  };

  // Parent folder (made when missing) and last part of `path`; an empty name for the root itself.
  Result<Place> Locate(std::string_view path, bool make);
  Status ApplyEntry(TarReader& tar, const TarEntry& entry);
  Status ApplyWhiteout(const Place& place);
  Status MakeFolder(const Place& place, const TarEntry& entry);
  Status MakeFile(const Place& place, const TarEntry& entry, TarReader& tar);
  Status WriteContent(int file, const TarEntry& entry, TarReader& tar);
  Status MakeLink(const Place& place, const TarEntry& entry);
  Status CopyUp(const Folder& folder, const std::string& name, const UniqueFd& lower);
  Status MakeNode(const Place& place, const TarEntry& entry);
  Status CountContent(uint64_t bytes);
  Status SetFolderTimes();
  // Calls `create` until nothing is in its way any more: an entry replaces what an earlier one made.
  template <class Create>
  Status Replacing(const Place& place, const char* operation, Create create);

  UniqueFd root_;
  UniqueFd lower_;
  LayerLimits limits_;
  FolderWalk walk_;
  AppliedLayer applied_;
  std::vector<FolderTime> folder_times_;
  size_t remembered_ = 0;
};

}  // namespace starling
