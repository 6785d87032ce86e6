// Writes a layer's entries below one folder, as overlayfs wants a lower layer: whiteouts become character devices 0/0,
// opaque folders carry trusted.overlay.opaque. Every name is resolved by the kernel with that folder as its root
// (openat2 RESOLVE_IN_ROOT, kernel ≥ 5.6): neither `..`, nor absolute names, nor symbolic links of the same layer lead out.
#pragma once

#include <string>
#include <vector>

#include "../base/result.h"
#include "../sys/unique_fd.h"
#include "tar_reader.h"

namespace starling {

struct AppliedLayer {
  uint64_t entries = 0;
  uint64_t content_bytes = 0;
};

class LayerApplier {
 public:
  // `root` is the empty folder of the layer.
  explicit LayerApplier(UniqueFd root) : root_(std::move(root)) {}

  // Applies the whole archive. Errors name the entry.
  Result<AppliedLayer> Apply(TarReader& tar);

  const UniqueFd& root() const { return root_; }

 private:
  struct Place {
    UniqueFd parent;
    std::string name;
  };
  struct FolderTime {
    std::string path;
    int64_t seconds;
    int64_t nanoseconds;
  };

  Result<UniqueFd> OpenFolder(const std::string& path, bool make);
  // Parent folder (made when missing) and last part of `path`; an empty name for the root itself.
  Result<Place> Locate(const std::string& path);
  Status ApplyEntry(TarReader& tar, const TarEntry& entry);
  Status ApplyWhiteout(const Place& place);
  Status MakeFolder(const Place& place, const TarEntry& entry);
  Status MakeFile(const Place& place, const TarEntry& entry, TarReader& tar);
  Status MakeLink(const Place& place, const TarEntry& entry);
  Status MakeNode(const Place& place, const TarEntry& entry);
  Status SetAttributes(int fd, const TarEntry& entry);
  Status SetFolderTimes();

  UniqueFd root_;
  AppliedLayer applied_;
  std::vector<FolderTime> folder_times_;
};

}  // namespace starling
