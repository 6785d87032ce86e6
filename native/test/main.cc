#include "check.h"

int main() {
  int passed = 0;
  int failed = 0;
  for (const auto& item : starling::test::Cases()) {
    int before = starling::test::Failures();
    item.run();
    bool good = starling::test::Failures() == before;
    (good ? passed : failed)++;
    if (!good) fprintf(stderr, "FAILED %s\n", item.name);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
