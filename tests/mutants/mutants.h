/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMLANE_TESTS_MUTANTS_H
#define VMLANE_TESTS_MUTANTS_H

/* Copies of verdict.h with one fault each, which the tests must notice. */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NOLINTBEGIN(readability-identifier-naming) */

struct vmlane_mutant_question {
  uint32_t endpoint;
  uint32_t v6;
  uint32_t peer[4];
  uint32_t port;
  uint32_t protocol;
  uint32_t direction;
};

struct vmlane_mutant_answer {
  uint32_t allowed;
  uint32_t reason;
  uint32_t policy;
  uint32_t rule;
};

typedef struct vmlane_mutant_answer vmlane_mutant(const void* block, uint32_t size,
                                                  const struct vmlane_mutant_question* question);

struct vmlane_mutant_entry {
  vmlane_mutant* ask;
  const char* place; /* what is changed */
};

extern const struct vmlane_mutant_entry vmlane_mutants[];
extern const uint32_t vmlane_mutant_count;

/* NOLINTEND(readability-identifier-naming) */

#ifdef __cplusplus
}
#endif

#endif
