#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "../sys/fs.h"
#include "../unpack/applier.h"
#include "check.h"

namespace starling {
namespace {

// A folder of its own, with a `root` for the layer and a file `outside` beside it that no layer may touch.
class Sandbox {
 public:
  Sandbox() {
    char name[] = "/tmp/starling-layer-XXXXXX";
    folder_ = mkdtemp(name);
    mkdir((folder_ + "/root").c_str(), 0755);
    (void)fs::ReplaceFile(folder_ + "/outside", "untouched", 0644).ok();
  }
  ~Sandbox() { (void)!system(("rm -rf " + folder_).c_str()); }

  std::string Path(const std::string& name) const { return folder_ + "/root/" + name; }
  bool OutsideIsUntouched() const {
    auto text = fs::ReadFile(folder_ + "/outside");
    struct stat info;
    return text.ok() && *text == "untouched" && stat((folder_ + "/evil").c_str(), &info) != 0;
  }

  // Applies an archive; empty on success, else the error.
  std::string Apply(const std::string& archive, uint64_t max_bytes = 1 << 20) {
    std::string file = folder_ + "/layer.tar";
    (void)fs::ReplaceFile(file, archive, 0600).ok();
    UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    auto source = OpenLayer(std::make_shared<RawInput>(fd.get()));
    if (!source.ok()) return source.error().message;
    LayerStream stream(std::move(*source), max_bytes);
    TarReader tar(stream);
    LayerApplier applier(UniqueFd(open(Path("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    auto applied = applier.Apply(tar);
    return applied.ok() ? "" : applied.error().message;
  }

 private:
  std::string folder_;
};

struct Header {
  std::string path = {};
  char type = '0';
  std::string content = {};
  std::string link = {};
  uint32_t mode = 0644;
};

std::string Entry(const Header& header) {
  char block[512] = {};
  strncpy(block, header.path.c_str(), 100);
  snprintf(block + 100, 8, "%07o", header.mode);
  snprintf(block + 108, 8, "%07o", 0U);
  snprintf(block + 116, 8, "%07o", 0U);
  snprintf(block + 124, 12, "%011zo", header.content.size());
  snprintf(block + 136, 12, "%011o", 1000000000U);
  block[156] = header.type;
  strncpy(block + 157, header.link.c_str(), 100);
  memcpy(block + 257, "ustar\00000", 8);
  memset(block + 148, ' ', 8);
  unsigned sum = 0;
  for (char c : block) sum += static_cast<unsigned char>(c);
  snprintf(block + 148, 8, "%06o", sum);
  std::string out(block, 512);
  out += header.content;
  out.resize((out.size() + 511) / 512 * 512);
  return out;
}

std::string Record(const std::string& key, const std::string& value) {
  std::string tail = " " + key + "=" + value + "\n";
  size_t length = tail.size() + 1;
  while (std::to_string(length).size() + tail.size() != length) length++;
  return std::to_string(length) + tail;
}

const std::string kEnd(1024, '\0');

TEST(layer_writes_files_links_and_times) {
  Sandbox box;
  std::string archive = Entry({"./a/", '5', "", "", 0750}) + Entry({"a/file", '0', "hello", "", 04755}) +
                        Entry({"hard", '1', "", "a/file"}) + Entry({"soft", '2', "", "../../outside"}) + kEnd;
  CHECK_EQ(box.Apply(archive), "");
  struct stat info;
  CHECK_EQ(stat(box.Path("a/file").c_str(), &info), 0);
  CHECK_EQ(info.st_mode & 07777U, 04755U);
  CHECK_EQ(info.st_nlink, nlink_t{2});
  CHECK_EQ(info.st_mtim.tv_sec, 1000000000);
  CHECK_EQ(stat(box.Path("a").c_str(), &info), 0);
  CHECK_EQ(info.st_mtim.tv_sec, 1000000000);
  CHECK_EQ(lstat(box.Path("soft").c_str(), &info), 0);
  CHECK(S_ISLNK(info.st_mode));
}

TEST(layer_names_cannot_climb_out) {
  Sandbox box;
  CHECK_EQ(box.Apply(Entry({"../../evil", '0', "x"}) + Entry({"/../evil", '0', "x"}) + kEnd), "");
  CHECK(box.OutsideIsUntouched());
  struct stat info;
  CHECK_EQ(stat(box.Path("evil").c_str(), &info), 0);
}

TEST(layer_links_cannot_lead_out) {
  Sandbox box;
  // Relative and absolute links to the folder above, then writing through them.
  std::string archive = Entry({"up", '2', "", ".."}) + Entry({"up/outside", '0', "evil"}) +
                        Entry({"abs", '2', "", "/tmp"}) + Entry({"abs/evil", '0', "evil"}) +
                        Entry({"file", '2', "", "../outside"}) + Entry({"file", '0', "evil"}) +
                        Entry({"steal", '1', "", "../outside"}) + kEnd;
  box.Apply(archive);
  CHECK(box.OutsideIsUntouched());
}

TEST(layer_hard_links_reach_only_the_layer) {
  Sandbox box;
  CHECK(box.Apply(Entry({"passwd", '1', "", "/etc/passwd"}) + kEnd).starts_with("layer entry `passwd`: "));
  CHECK(box.Apply(Entry({"dots", '0', "x"}) + Entry({"..", '0', "x"}) + kEnd).find("must not end in") != std::string::npos);
}

TEST(layer_whiteouts_become_what_overlayfs_knows) {
  Sandbox box;
  CHECK_EQ(box.Apply(Entry({"d/", '5'}) + Entry({"d/.wh.gone"}) + Entry({"d/.wh..wh..opq"}) + Entry({".wh..wh.plnk"}) +
                     Entry({"kept", '0', "new"}) + Entry({".wh.kept"}) + kEnd),
           "");
  struct stat info;
  CHECK_EQ(lstat(box.Path("d/gone").c_str(), &info), 0);
  CHECK(S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0));
  char opaque = 0;
  CHECK_EQ(getxattr(box.Path("d").c_str(), "trusted.overlay.opaque", &opaque, 1), 1);
  CHECK_EQ(opaque, 'y');
  CHECK_EQ(lstat(box.Path("kept").c_str(), &info), 0);
  CHECK(S_ISREG(info.st_mode));
  CHECK(box.Apply(Entry({".wh..", '0'}) + kEnd).find("damaged whiteout") != std::string::npos);
  CHECK(box.Apply(Entry({"w", '3'}) + kEnd).find("character device 0/0") != std::string::npos);
}

TEST(layer_later_entries_replace_earlier_ones) {
  Sandbox box;
  CHECK_EQ(box.Apply(Entry({"x/", '5'}) + Entry({"x/y/z", '0', "deep"}) + Entry({"x", '0', "file now"}) + kEnd), "");
  CHECK_EQ(*fs::ReadFile(box.Path("x")), "file now");
  CHECK_EQ(box.Apply(Entry({"x", '2', "", "elsewhere"}) + Entry({"x/", '5', "", "", 0700}) + kEnd), "");
  struct stat info;
  CHECK_EQ(lstat(box.Path("x").c_str(), &info), 0);
  CHECK(S_ISDIR(info.st_mode));
}

TEST(layer_reads_pax_and_gnu_names) {
  Sandbox box;
  std::string longest(200, 'n');
  std::string pax = Record("path", "pax/" + longest) + Record("mtime", "1234.5") + Record("SCHILY.xattr.user.k", "v\0w");
  std::string archive = Entry({"PaxHeaders", 'x', pax}) + Entry({"short", '0', "p"}) +
                        Entry({"././@LongLink", 'L', "gnu/" + longest + std::string(1, '\0')}) + Entry({"short", '0', "g"}) +
                        Entry({"global", 'g', Record("comment", "x")}) + kEnd;
  CHECK_EQ(box.Apply(archive), "");
  struct stat info;
  CHECK_EQ(stat(box.Path("pax/" + longest).c_str(), &info), 0);
  CHECK_EQ(info.st_mtim.tv_sec, 1234);
  CHECK_EQ(info.st_mtim.tv_nsec, 500000000);
  CHECK_EQ(*fs::ReadFile(box.Path("gnu/" + longest)), "g");
}

TEST(layer_drops_attributes_that_speak_to_overlayfs) {
  Sandbox box;
  std::string pax = Record("SCHILY.xattr.trusted.overlay.redirect", "/etc") + Record("SCHILY.xattr.security.selinux", "x");
  CHECK_EQ(box.Apply(Entry({"p", 'x', pax}) + Entry({"d/", '5'}) + kEnd), "");
  char value[16];
  CHECK_EQ(getxattr(box.Path("d").c_str(), "trusted.overlay.redirect", value, sizeof value), -1);
}

TEST(layer_refuses_damage) {
  Sandbox box;
  std::string good = Entry({"a", '0', "hello"}) + kEnd;
  std::string bad = good;
  bad[0] = 'b';
  CHECK_EQ(box.Apply(bad), "tar: a header's checksum is wrong");
  CHECK_EQ(box.Apply(good.substr(0, 514)), "layer entry `a`: tar: the archive is cut short");
  CHECK_EQ(box.Apply(Entry({"p", 'x', "9999 path=x\n"}) + Entry({"a"}) + kEnd), "tar: damaged PAX record");
  CHECK_EQ(box.Apply(Entry({"p", 'x', Record("GNU.sparse.major", "1")}) + Entry({"a"}) + kEnd),
           "tar: sparse files are not supported: a");
  CHECK(box.Apply(Entry({"a", 'S'}) + kEnd).find("not supported") != std::string::npos);
  CHECK(box.Apply(Entry({"big", '0', std::string(5000, 'x')}) + kEnd, 1000).find("larger than its limit") != std::string::npos);
}

TEST(layer_bytes_flipped_anywhere_crash_nothing) {
  std::string pax = Record("path", "some/name") + Record("mtime", "12.5");
  std::string archive = Entry({"p", 'x', pax}) + Entry({"a", '0', "hello"}) + Entry({"l", '2', "", "a"}) + kEnd;
  Sandbox box;
  for (size_t at = 0; at < archive.size() - 1024; at += 3) {
    std::string damaged = archive;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    box.Apply(damaged);
  }
  CHECK(box.OutsideIsUntouched());
}

TEST(sha256_matches_known_digests) {
  Sha256 empty;
  CHECK_EQ(empty.FinishHex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 long_message;
  std::string part(997, 'a');
  for (int i = 0; i < 1003; i++) long_message.Update(part.data(), part.size());
  std::string rest(1000000 - 997 * 1003, 'a');
  long_message.Update(rest.data(), rest.size());
  CHECK_EQ(long_message.FinishHex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace starling
