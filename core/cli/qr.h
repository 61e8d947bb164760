// SPDX-License-Identifier: Apache-2.0
/* QR codes for terminals. */
#pragma once

#include "core/base/error.h"

/* `data` as a QR code in lines of UTF-8, two rows of modules each, with the quiet zone: white is what the terminal
 * writes with, so it is meant for light letters on dark ground, as `qrencode -t UTF8` is. Each line begins with `lead`.
 * The caller wipes and frees it. NULL with `error` set: it is too long for a QR code, or there is no memory. */
char *qr_format(const char *data, const char *lead, struct error *error);
