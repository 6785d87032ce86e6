#include <cstdlib>
#include <unistd.h>

#include "../base/json.h"
#include "../shim/log_writer.h"
#include "../sys/fs.h"
#include "check.h"

namespace starling {
namespace {

std::vector<json::Value> LinesOf(const std::string& path) {
  std::vector<json::Value> lines;
  auto text = fs::ReadFile(path);
  if (!text.ok()) return lines;
  for (std::string_view line : fs::Split(*text, '\n')) {
    if (line.empty()) continue;
    auto value = json::Parse(line);
    CHECK(value.ok());
    lines.push_back(*value);
  }
  return lines;
}

class LogFolder {
 public:
  LogFolder() {
    char name[] = "/tmp/starling-log-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~LogFolder() { (void)!system(("rm -rf " + folder_).c_str()); }
  std::string path() const { return folder_ + "/log.json"; }

 private:
  std::string folder_;
};

TEST(log_keeps_lines_of_both_streams_apart) {
  LogFolder folder;
  auto log = LogWriter::Open({.path = folder.path()});
  log->Append(Stream::kStdout, "one\ntw");
  log->Append(Stream::kStderr, "err\n");
  log->Append(Stream::kStdout, "o\nlast");
  log->Finish(Stream::kStdout);
  auto lines = LinesOf(folder.path());
  CHECK_EQ(lines.size(), size_t{4});
  CHECK_EQ(lines[0].Find("log")->string, "one\n");
  CHECK_EQ(lines[1].Find("log")->string, "err\n");
  CHECK_EQ(lines[1].Find("stream")->string, "stderr");
  CHECK_EQ(lines[2].Find("log")->string, "two\n");
  CHECK_EQ(lines[3].Find("log")->string, "last");
  CHECK_EQ(lines[0].Find("time")->string.size(), std::string("2026-01-01T00:00:00.000000000Z").size());
}

TEST(log_splits_long_lines_at_16_kib) {
  LogFolder folder;
  auto log = LogWriter::Open({.path = folder.path()});
  std::string text(40000, 'x');
  log->Append(Stream::kStdout, std::string_view(text).substr(0, 10000));
  log->Append(Stream::kStdout, std::string_view(text).substr(10000));
  log->Append(Stream::kStdout, "\n");
  auto lines = LinesOf(folder.path());
  CHECK_EQ(lines.size(), size_t{3});
  CHECK_EQ(lines[0].Find("log")->string.size(), size_t{16384});
  CHECK_EQ(lines[2].Find("log")->string.size(), size_t{40001 - 2 * 16384});
}

TEST(log_rotates_and_keeps_as_many_files_as_asked) {
  LogFolder folder;
  auto log = LogWriter::Open({.path = folder.path(), .max_bytes = 4096, .max_files = 3});
  for (int i = 0; i < 400; i++) log->Append(Stream::kStdout, "line " + std::to_string(i) + "\n");
  auto current = LinesOf(folder.path());
  CHECK_EQ(current.back().Find("log")->string, "line 399\n");
  auto older = LinesOf(folder.path() + ".1");
  CHECK(!older.empty() && !LinesOf(folder.path() + ".2").empty());
  CHECK_EQ(access((folder.path() + ".3").c_str(), F_OK), -1);
  int first = atoi(current.front().Find("log")->string.c_str() + 5);
  CHECK_EQ(older.back().Find("log")->string, "line " + std::to_string(first - 1) + "\n");
}

}  // namespace
}  // namespace starling
