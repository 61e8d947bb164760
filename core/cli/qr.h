// SPDX-License-Identifier: Apache-2.0
/* QR codes for terminals. */
#pragma once

#include "core/base/error.h"

/* `data` as a QR code in lines of UTF-8, two rows of modules a line, with the quiet zone. White modules have the
 * terminal's foreground colour: for light text on a dark background, as of `qrencode -t UTF8`. Each line begins with
 * `lead`. The caller wipes and frees it. NULL with `error` set: too long for a QR code, or no memory. */
char *qr_format(const char *data, const char *lead, struct error *error);
