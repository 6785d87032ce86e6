// starling-unpack LAYER FOLDER MAX_BYTES
//
// Unpacks one layer (a tar file, plain, gzip or zstd; `-`: from stdin, as it is downloaded) into the empty FOLDER as a
// lower layer of overlayfs, syncs it to the disk, and prints {"digest":"sha256:…","diffId":"sha256:…","bytes":…,…}: the
// caller compares both digests and keeps the folder only if they are the wanted ones. A process of its own, locked in before it reads
// the first byte. On failure: one line on stderr, exit 1; what it wrote is the caller's to remove.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "../base/json.h"
#include "../sys/fs.h"
#include "applier.h"
#include "layer_stream.h"
#include "sandbox.h"

namespace starling {
namespace {

Result<std::string> Unpack(const char* layer, const char* folder, uint64_t max_bytes) {
  UniqueFd file;
  if (std::string_view(layer) != "-") {
    STARLING_ASSIGN(opened, fs::Open(layer, O_RDONLY));
    file = std::move(opened);
  }
  STARLING_ASSIGN(root, fs::Open(folder, O_RDONLY | O_DIRECTORY));
  auto input = std::make_shared<RawInput>(file ? file.get() : 0);
  STARLING_TRY(EnterSandbox(root));
  STARLING_ASSIGN(source, OpenLayer(input));
  LayerStream stream(std::move(source), max_bytes);
  TarReader tar(stream);
  LayerApplier applier(std::move(root));
  STARLING_ASSIGN(applied, applier.Apply(tar));
  STARLING_ASSIGN(hash, stream.FinishHash());
  if (syncfs(applier.root().get()) != 0) return Error::Errno("syncfs", folder);
  return json::Object()
      .String("digest", "sha256:" + input->FinishHash())
      .String("diffId", "sha256:" + hash)
      .Int("bytes", static_cast<int64_t>(input->bytes()))
      .Int("entries", static_cast<int64_t>(applied.entries))
      .Int("contentBytes", static_cast<int64_t>(applied.content_bytes))
      .Done();
}

Status WriteLine(int fd, std::string text) { return fs::WriteAll(fd, text + "\n", "output"); }

}  // namespace
}  // namespace starling

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: starling-unpack LAYER FOLDER MAX_BYTES\n");
    return 2;
  }
  umask(022);
  auto done = starling::Unpack(argv[1], argv[2], strtoull(argv[3], nullptr, 10));
  // Plain writes: stdio would ask the sandbox for system calls that it refuses.
  starling::Status told = done.ok() ? starling::WriteLine(1, *done) : starling::WriteLine(2, done.error().message);
  _exit(done.ok() && told.ok() ? 0 : 1);
}
