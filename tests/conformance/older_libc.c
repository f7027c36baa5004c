/* The functions of newer C and C++ libraries that the runner of the tests needs: strtol and its
 * like as C23 has them, and the start of iostreams, which older libraries leave to who uses them.
 */
#include <stdlib.h>

void _ZNSt8ios_base4InitC1Ev(void *); /* std::ios_base::Init::Init() */

long __isoc23_strtol(const char *s, char **end, int base)
{
    return strtol(s, end, base);
}

long long __isoc23_strtoll(const char *s, char **end, int base)
{
    return strtoll(s, end, base);
}

unsigned long __isoc23_strtoul(const char *s, char **end, int base)
{
    return strtoul(s, end, base);
}

unsigned long long __isoc23_strtoull(const char *s, char **end, int base)
{
    return strtoull(s, end, base);
}

void _ZSt21ios_base_library_initv(void)
{
}

__attribute__((constructor)) static void start(void)
{
    static char init[16];
    _ZNSt8ios_base4InitC1Ev(init);
}
