// Finds the folders of a layer that is being written, never leaving it: links are read here and followed within the layer,
// "..", absolute names and links' targets end at its root. Below the layer may lie lower ones; a folder or link that only they
// have counts as there, and a folder that is written to is copied up first, as overlayfs would do.
#pragma once

#include <time.h>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "../base/result.h"
#include "../sys/unique_fd.h"

namespace starling {

// A folder, open, and its path from the layer's root: without links, "." and ".."; empty for the root.
struct Folder {
  UniqueFd fd;
  std::string path;
  // An opaque folder on the way hides what lower layers have here.
  bool hides_lower = false;
};

// Attributes that a layer may set: trusted.* would speak to overlayfs itself, security.* to the host's policies.
bool IsKeptAttribute(std::string_view name);

// `name` in `parent`, a folder with all that is in it. Links are removed, never followed. Nothing there: nothing done.
Status RemoveAll(int parent, const char* name, int depth = 0);

// Marks a folder so that overlayfs shows nothing of lower layers in it.
Status MakeOpaque(int folder);

class FolderWalk {
 public:
  // `lower`: the merged lower layers, or none. Both descriptors outlive this.
  FolderWalk(const UniqueFd& root, const UniqueFd& lower) : root_(root), lower_(lower) {}

  // The folder `path`, made when missing if `make` says so. Valid until the next call.
  Result<const Folder*> Enter(std::string_view path, bool make);

  // Something on the way of a folder may have changed: a folder or link was made or removed.
  void Forget() { is_known_ = false; }

  // An entry for the folder itself came.
  void Explain(const std::string& path) { implied_.erase(path); }

  // Folders were made that the archive has no entry of: lower layers would have said how they look.
  bool has_implied() const { return has_forgotten_implied_ || !implied_.empty(); }

  // Folders made on the way to others.
  uint64_t made() const { return made_; }

  // Looks up `name` among the lower layers' files; an invalid descriptor (O_PATH) when there is none.
  UniqueFd LookBelow(const Folder& folder, std::string_view name) const;

  // The same, open for reading. REQUIRES: LookBelow found a file.
  Result<UniqueFd> OpenBelow(const Folder& folder, const std::string& name) const;

  // Folders copied up, by path, with their times: to be set in the end.
  struct CopiedUp {
    std::string path;
    timespec modified;
  };
  std::vector<CopiedUp> TakeCopiedUp() { return std::move(copied_up_); }

 private:
  Result<Folder> Resolve(std::string_view path, bool make);
  Result<UniqueFd> Make(const Folder& parent, const std::string& name, int lower);

  const UniqueFd& root_;
  const UniqueFd& lower_;
  std::set<std::string> implied_;
  // More than are worth remembering: the layer then counts as not standing alone.
  bool has_forgotten_implied_ = false;
  uint64_t made_ = 0;
  std::vector<CopiedUp> copied_up_;
  bool is_known_ = false;
  std::string known_path_;
  Folder known_;
};

// Copies owner, mode and attributes.
Status CopyAttributes(int from, int to);

}  // namespace starling
