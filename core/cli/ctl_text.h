// SPDX-License-Identifier: Apache-2.0
/* Members of the daemon's answers as text. One that is missing reads as 0 or "-". */
#pragma once

#include <jansson.h>
#include <stdint.h>

enum { CTL_NUMBER_MAX = 32 };

uint64_t ctl_number(const json_t *object, const char *key);
const char *ctl_text_of(const json_t *value);
const char *ctl_text(const json_t *object, const char *key);

/* These write to `text` and return it. */
const char *ctl_count(char text[CTL_NUMBER_MAX], uint64_t count); /* exact below a million */
const char *ctl_bytes(char text[CTL_NUMBER_MAX], uint64_t bytes);
const char *ctl_duration(char text[CTL_NUMBER_MAX], uint64_t seconds);
