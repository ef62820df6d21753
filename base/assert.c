#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *expression, const char *file, int line, const char *function)
{
    fprintf(stderr, "level=error msg=\"assertion failed\" at=%s:%d function=%s expression=\"%s\"\n",
            file, line, function, expression);
    abort();
}
