// starling-unpack --folder DIR --content-max N --entries-max N [--blob FILE --size N] [--lower DIR]…
//
// Unpacks one layer from stdin (a tar archive, plain, gzip or zstd) into the empty folder DIR as a lower layer of overlayfs.
//   --blob FILE --size N  FILE holds the blob's beginning, perhaps all of it: that is read first, and what stdin brings is appended
//   --lower DIR           a layer below, topmost first: hard links into them and folders that this layer does not describe are
//                         copied up from them
//   --content-max N       bytes the archive may have uncompressed; also bounds the files' content
//   --entries-max N       files, folders, links and devices
//
// A process of its own, locked in before it reads the first byte. When everything is written it prints one line,
// {"digest":"sha256:…","diffId":"sha256:…",…}: the caller compares the digests and only then uses the folder. After that it syncs
// the file system; its end, with status 0, says that the layer would survive a power cut. On failure: one line on
// stderr, exit 1; what it wrote is the caller's to remove.
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>

#include "../base/json.h"
#include "../sys/fs.h"
#include "applier.h"
#include "layer_stream.h"
#include "read_ahead.h"
#include "sandbox.h"
#include "tar_fields.h"

namespace starling {
namespace {

struct Options {
  std::string folder;
  std::string blob;
  uint64_t size = UINT64_MAX;
  std::vector<std::string> lowers;
  uint64_t content_max = 0;
  uint64_t entries_max = 0;
};

Result<Options> ParseOptions(int argc, char** argv) {
  static const option kKnown[] = {{"folder", 1, nullptr, 'f'},      {"blob", 1, nullptr, 'b'},        {"size", 1, nullptr, 's'},
                                  {"lower", 1, nullptr, 'l'},       {"content-max", 1, nullptr, 'c'}, {"entries-max", 1, nullptr, 'e'},
                                  {nullptr, 0, nullptr, 0}};
  Options options;
  for (int found; (found = getopt_long(argc, argv, "", kKnown, nullptr)) != -1;) {
    bool good = true;
    switch (found) {
      case 'f': options.folder = optarg; break;
      case 'b': options.blob = optarg; break;
      case 's': good = ParseDecimal(std::string_view(optarg), options.size); break;
      case 'l': options.lowers.emplace_back(optarg); break;
      case 'c': good = ParseDecimal(std::string_view(optarg), options.content_max); break;
      case 'e': good = ParseDecimal(std::string_view(optarg), options.entries_max); break;
      default: return Error{"unknown option"};
    }
    if (!good) return Error{std::string("not a number: ") + optarg};
  }
  if (options.folder.empty() || options.content_max == 0 || options.entries_max == 0) {
    return Error{"usage: starling-unpack --folder DIR --content-max N --entries-max N [--blob FILE --size N] [--lower DIR]..."};
  }
  return options;
}

Status WriteLine(int fd, std::string text) { return fs::WriteAll(fd, text + "\n", "output"); }

Status Unpack(const Options& options) {
  STARLING_ASSIGN(root, fs::Open(options.folder, O_RDONLY | O_DIRECTORY));
  UniqueFd kept;
  if (!options.blob.empty()) {
    STARLING_ASSIGN(blob, fs::Open(options.blob, O_RDWR | O_CREAT, 0600));
    kept = std::move(blob);
  }
  STARLING_TRY(Isolate());
  UniqueFd lower;
  if (!options.lowers.empty()) {
    STARLING_ASSIGN(merged, MergeLowers(options.lowers, options.folder));
    lower = std::move(merged);
  }
  STARLING_TRY(EnterFolder(root));
  auto input = std::make_shared<RawInput>(0, kept.get(), options.size);
  // Both live until the process ends, as the thread does.
  auto* ahead = new ReadAhead(input);
  auto& stream = *new LayerStream(std::unique_ptr<ByteSource>(ahead), options.content_max);
  ahead->WaitStarted();
  STARLING_TRY(LockDown());
  ahead->Begin();
  TarReader tar(stream);
  LayerApplier applier(std::move(root), std::move(lower), {options.entries_max, options.content_max});
  STARLING_ASSIGN(applied, applier.Apply(tar));
  STARLING_ASSIGN(hash, stream.FinishHash());
  STARLING_TRY(WriteLine(1, json::Object()
                                .String("digest", "sha256:" + input->FinishHash())
                                .String("diffId", "sha256:" + hash)
                                .Int("bytes", static_cast<int64_t>(input->bytes()))
                                .Int("entries", static_cast<int64_t>(applied.entries))
                                .Int("contentBytes", static_cast<int64_t>(applied.content_bytes))
                                .Bool("standalone", applied.standalone)
                                .String("missingLink", applied.missing_link)
                                .Done()));
  if (syncfs(applier.root().get()) != 0) return Error::Errno("syncfs", options.folder);
  _exit(0);
}

}  // namespace
}  // namespace starling

int main(int argc, char** argv) {
  // One heap for both threads: another one would ask for system calls that the filter refuses.
  mallopt(M_ARENA_MAX, 1);
  umask(022);
  auto options = starling::ParseOptions(argc, argv);
  starling::Status done = options.ok() ? starling::Unpack(*options) : starling::Status(options.error());
  // Plain writes: stdio would ask for more, too.
  (void)starling::WriteLine(2, done.error().message).ok();
  _exit(1);
}
