// Layers as they come, gzip, zstd or plain, damaged, cut short or longer than promised.
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "../../sys/unique_fd.h"
#include "../../unpack/layer_stream.h"
#include "input.h"

namespace starling::fuzz {
namespace {

constexpr uint64_t kMost = 1 << 20;

struct Unpacked {
  bool ok = false;
  std::string bytes;
};

Unpacked Unpack(std::string_view blob, uint64_t size_max) {
  UniqueFd file(memfd_create("layer", MFD_CLOEXEC));
  Require(write(file.get(), blob.data(), blob.size()) == static_cast<ssize_t>(blob.size()), "the input fits a file");
  lseek(file.get(), 0, SEEK_SET);
  auto input = std::make_shared<RawInput>(file.get(), -1, size_max);
  auto source = OpenLayer(input);
  Unpacked unpacked;
  if (!source.ok()) return unpacked;
  LayerStream stream(std::move(*source), kMost);
  char buffer[5000];
  for (;;) {
    auto count = stream.ReadSome(buffer, sizeof buffer);
    if (!count.ok()) return unpacked;
    if (*count == 0) break;
    unpacked.bytes.append(buffer, *count);
    Require(unpacked.bytes.size() <= kMost, "a bomb ends at its limit");
  }
  Require(input->bytes() <= size_max, "no more is read than was promised");
  unpacked.ok = true;
  return unpacked;
}

std::string Gzip(std::string_view bytes) {
  z_stream stream = {};
  Require(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib starts");
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  Require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib ends");
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

std::string Zstd(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  size_t length = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1);
  Require(ZSTD_isError(length) == 0, "zstd ends");
  out.resize(length);
  return out;
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  fuzz::Input input(data, size);
  unsigned way = input.Choice(4);
  std::string_view rest = input.Rest();
  if (way == 0) {
    (void)fuzz::Unpack(rest, UINT64_MAX);
  } else if (way == 1) {
    auto cut = fuzz::Unpack(rest, rest.size() / 2);
    fuzz::Require(!cut.ok || cut.bytes.size() <= fuzz::kMost, "a blob longer than its manifest says ends");
  } else {
    // Two members, one after the other, come back as they went.
    std::string_view half = rest.substr(0, rest.size() / 2);
    std::string_view other = rest.substr(half.size());
    std::string blob = way == 2 ? fuzz::Gzip(half) + fuzz::Gzip(other) : fuzz::Zstd(half) + fuzz::Zstd(other);
    auto whole = fuzz::Unpack(blob, UINT64_MAX);
    fuzz::Require(whole.ok && whole.bytes == rest, "compressed bytes come back as they were");
  }
  return 0;
}
