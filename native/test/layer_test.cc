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

  const std::string& folder() const { return folder_; }

  // Applies an archive, over `lower` if one is given; empty on success, else the error.
  std::string Apply(const std::string& archive, uint64_t max_bytes = 1 << 20, const std::string& lower = "", uint64_t entries = 1000) {
    std::string file = folder_ + "/layer.tar";
    (void)fs::ReplaceFile(file, archive, 0600).ok();
    UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    auto source = OpenLayer(std::make_shared<RawInput>(fd.get()));
    if (!source.ok()) return source.error().message;
    LayerStream stream(std::move(*source), max_bytes);
    TarReader tar(stream);
    UniqueFd below(lower.empty() ? -1 : open(lower.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    LayerApplier applier(UniqueFd(open(Path("").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), std::move(below), {entries, max_bytes});
    auto outcome = applier.Apply(tar);
    if (outcome.ok()) applied = *outcome;
    return outcome.ok() ? "" : outcome.error().message;
  }

  // Of the last Apply that succeeded.
  AppliedLayer applied;

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
  CHECK_EQ(box.Apply(Entry({"passwd", '1', "", "/etc/passwd"}) + kEnd), "");
  CHECK_EQ(box.applied.missing_link, "passwd");
  CHECK(!box.applied.standalone);
  struct stat info;
  CHECK(lstat(box.Path("passwd").c_str(), &info) != 0);
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
  CHECK(box.Apply(Entry({"a", 'M'}) + kEnd).find("not supported") != std::string::npos);
  CHECK(box.Apply(Entry({"big", '0', std::string(5000, 'x')}) + kEnd, 1000).find("larger than its limit") != std::string::npos);
}

std::string Pax(const std::string& records) { return Entry({"PaxHeaders", 'x', records}); }

bool IsOpaque(const std::string& path) {
  char value = 0;
  return getxattr(path.c_str(), "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

TEST(layer_folders_that_replace_hide_what_lies_below) {
  Sandbox box;
  CHECK_EQ(box.Apply(Entry({".wh.a"}) + Entry({"a/", '5'}) + Entry({"b/", '5'}) + Entry({"b/new"}) + Entry({".wh.b"}) +
                     Entry({"c"}) + Entry({"c/", '5'}) + Entry({".wh.d"}) + Entry({"d/e/f"}) + Entry({"plain/", '5'}) + kEnd),
           "");
  for (const char* name : {"a", "b", "c", "d"}) CHECK(IsOpaque(box.Path(name)));
  CHECK(!IsOpaque(box.Path("plain")));
  CHECK_EQ(*fs::ReadFile(box.Path("b/new")), "");
}

TEST(layer_says_whether_it_stands_alone) {
  Sandbox box;
  CHECK_EQ(box.Apply(Entry({"d/file"}) + Entry({"d/", '5'}) + Entry({"hard", '1', "", "d/file"}) + kEnd), "");
  CHECK(box.applied.standalone);
  Sandbox implied;
  CHECK_EQ(implied.Apply(Entry({"d/file"}) + kEnd), "");
  CHECK(!implied.applied.standalone);
}

TEST(layer_copies_up_from_below) {
  Sandbox lower;
  CHECK_EQ(lower.Apply(Entry({"d/", '5', "", "", 01750}) + Entry({"d/file", '0', "below", "", 04711}) + Entry({"run/", '5'}) +
                       Entry({"var/", '5'}) + Entry({"var/run", '2', "", "/run"}) + Entry({"up", '2', "", "../.."}) + kEnd),
           "");
  Sandbox box;
  std::string below = lower.Path("");
  CHECK_EQ(box.Apply(Entry({"d/other", '0', "new"}) + Entry({"hard", '1', "", "d/file"}) + Entry({"var/run/pid", '0', "1"}) +
                         Entry({"up/outside", '0', "evil"}) + kEnd,
                     1 << 20, below),
           "");
  struct stat info;
  CHECK_EQ(stat(box.Path("d").c_str(), &info), 0);
  CHECK_EQ(info.st_mode & 07777U, 01750U);
  CHECK_EQ(info.st_mtim.tv_sec, 1000000000);
  CHECK_EQ(stat(box.Path("hard").c_str(), &info), 0);
  CHECK_EQ(info.st_nlink, nlink_t{2});
  CHECK_EQ(info.st_mode & 07777U, 04711U);
  CHECK_EQ(*fs::ReadFile(box.Path("d/file")), "below");
  // Links of lower layers are followed, within the image.
  CHECK_EQ(*fs::ReadFile(box.Path("run/pid")), "1");
  CHECK_EQ(*fs::ReadFile(box.Path("outside")), "evil");
  CHECK(box.OutsideIsUntouched());
  CHECK(box.Apply(Entry({"nowhere", '1', "", "none"}) + kEnd, 1 << 20, below).find("no layer has it") != std::string::npos);
  // What the layer itself removed is not found below any more.
  Sandbox removed;
  CHECK(removed.Apply(Entry({"d/", '5'}) + Entry({"d/.wh..wh..opq"}) + Entry({"x", '1', "", "d/file"}) + kEnd, 1 << 20, below)
            .find("no layer has it") != std::string::npos);
}

TEST(layer_writes_sparse_files_of_each_format) {
  std::string block(512, 'a');
  std::string one = Record("GNU.sparse.major", "1") + Record("GNU.sparse.minor", "0") + Record("GNU.sparse.name", "one") +
                    Record("GNU.sparse.realsize", "1000000");
  std::string map = "2\n4096\n512\n999999\n1\n";
  map.resize(512, '\0');
  std::string zero = Record("GNU.sparse.size", "8192") + Record("GNU.sparse.numblocks", "1") + Record("GNU.sparse.offset", "4096") +
                     Record("GNU.sparse.numbytes", "512");
  std::string tenth = Record("GNU.sparse.size", "8192") + Record("GNU.sparse.map", "0,0,4096,512") + Record("GNU.sparse.name", "tenth");
  std::string old = Entry({"old", 'S', block});
  memcpy(old.data() + 386, "00000010000\0" "00000001000\0", 24);
  memcpy(old.data() + 483, "00000020000\0", 12);
  memset(old.data() + 148, ' ', 8);
  unsigned sum = 0;
  for (size_t i = 0; i < 512; i++) sum += static_cast<unsigned char>(old[i]);
  snprintf(old.data() + 148, 8, "%06o", sum);
  Sandbox box;
  CHECK_EQ(box.Apply(Pax(one) + Entry({"x", '0', map + block + "e"}) + Pax(zero) + Entry({"zero", '0', block}) + Pax(tenth) +
                         Entry({"x", '0', block}) + old + kEnd,
                     2 << 20),
           "");
  for (const char* name : {"zero", "tenth", "old"}) {
    auto text = fs::ReadFile(box.Path(name));
    CHECK_EQ(text->size(), size_t{8192});
    CHECK_EQ(text->substr(4095, 514), std::string(1, '\0') + block + std::string(1, '\0'));
  }
  auto text = fs::ReadFile(box.Path("one"));
  CHECK_EQ(text->size(), size_t{1000000});
  CHECK_EQ(text->back(), 'e');
  struct stat info;
  CHECK_EQ(stat(box.Path("one").c_str(), &info), 0);
  CHECK(info.st_blocks < 100);

  auto refused = [&](const std::string& records, const std::string& content) {
    return box.Apply(Pax(records) + Entry({"bad", '0', content}) + kEnd);
  };
  CHECK_EQ(refused(Record("GNU.sparse.size", "100") + Record("GNU.sparse.map", "0,512"), block), "tar: damaged map of a sparse file");
  CHECK_EQ(refused(Record("GNU.sparse.size", "9000") + Record("GNU.sparse.map", "512,512,0,0"), block),
           "tar: damaged map of a sparse file");
  CHECK_EQ(refused(Record("GNU.sparse.size", "9000") + Record("GNU.sparse.map", "18446744073709551615,512"), block),
           "tar: damaged map of a sparse file");
  CHECK_EQ(refused(one, std::string(512, '9')), "tar: damaged map of a sparse file");
  CHECK(refused(Record("GNU.sparse.size", "99999999999999") + Record("GNU.sparse.map", "0,512"), block).find("limit") !=
        std::string::npos);
}

TEST(layer_bounds_count_and_depth) {
  Sandbox box;
  std::string many;
  for (int i = 0; i < 20; i++) many += Entry({"f" + std::to_string(i)});
  CHECK_EQ(box.Apply(many + kEnd, 1 << 20, "", 10), "layer: more than 10 entries");
  std::string deep;
  for (int i = 0; i < 40; i++) deep += "d/";
  CHECK_EQ(box.Apply(Entry({deep + "x"}) + Entry({"more"}) + kEnd, 1 << 20, "", 10), "layer: more than 10 entries");
  // Links that each lead deeper: what counts is where they end.
  std::string archive = Pax(Record("path", deep + deep + deep + deep + deep + "end/x")) + Entry({"x"});
  archive += Pax(Record("linkpath", deep + deep + deep + deep + deep + "end")) + Entry({"l", '2'});
  for (int i = 0; i < 3; i++) {
    archive += Pax(Record("path", "l/" + deep + deep + deep + deep + deep + "end/x")) + Entry({"x"});
    archive += Pax(Record("linkpath", "l/" + deep + deep + deep + deep + deep + "end")) + Entry({"l", '2'});
  }
  CHECK(box.Apply(archive + kEnd, 1 << 20, "", 100'000).find("nested") != std::string::npos ||
        box.Apply(archive + kEnd, 1 << 20, "", 100'000).find("too many links") != std::string::npos);
}

TEST(layer_reads_times_before_the_epoch_and_empty_records) {
  Sandbox box;
  CHECK_EQ(box.Apply(Pax(Record("mtime", "-1.25") + Record("path", "")) + Entry({"a"}) + kEnd), "");
  struct stat info;
  CHECK_EQ(stat(box.Path("a").c_str(), &info), 0);
  CHECK_EQ(info.st_mtim.tv_sec, -2);
  CHECK_EQ(info.st_mtim.tv_nsec, 750000000);
  CHECK_EQ(box.Apply(Pax(Record("mtime", "1.x")) + Entry({"a"}) + kEnd), "tar: damaged PAX record `mtime`");
  CHECK(box.Apply(Pax(Record("uid", "4294967295")) + Entry({"a"}) + kEnd).find("too large") != std::string::npos);
}

TEST(raw_input_goes_on_from_what_is_kept) {
  Sandbox box;
  std::string archive = Entry({"a", '0', "hello"}) + kEnd;
  std::string kept = box.folder() + "/kept";
  std::string rest = box.folder() + "/rest";
  (void)fs::ReplaceFile(kept, archive.substr(0, 700), 0600).ok();
  (void)fs::ReplaceFile(rest, archive.substr(700), 0600).ok();
  UniqueFd kept_fd(open(kept.c_str(), O_RDWR | O_CLOEXEC));
  UniqueFd rest_fd(open(rest.c_str(), O_RDONLY | O_CLOEXEC));
  RawInput input(rest_fd.get(), kept_fd.get(), archive.size());
  std::string all;
  for (;;) {
    auto next = input.Next();
    CHECK(next.ok());
    if (!next.ok() || next->empty()) break;
    all += *next;
  }
  CHECK_EQ(all, archive);
  CHECK_EQ(*fs::ReadFile(kept), archive);
  UniqueFd again(open(kept.c_str(), O_RDWR | O_CLOEXEC));
  RawInput longer(rest_fd.get(), again.get(), 100);
  CHECK_EQ(longer.Next().error().message, "layer: larger than its manifest says");
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
