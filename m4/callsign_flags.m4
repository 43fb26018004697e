# CALLSIGN_CC_FLAGS(VARIABLE, FLAGS)
# Appends to VARIABLE each of the compiler FLAGS that the compiler takes
# without a warning under the present CFLAGS and those gathered so far. The probe includes a libc header
# and turns warnings into errors, so that a flag that is merely ignored, or one
# such as _FORTIFY_SOURCE that glibc refuses without optimisation, stays out.
AC_DEFUN([CALLSIGN_CC_FLAGS], [
for callsign_flag in $2; do
    AC_MSG_CHECKING([whether $CC takes $callsign_flag])
    callsign_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $$1 -Werror $callsign_flag"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[puts("");]])],
        [AC_MSG_RESULT([yes])
         AS_VAR_APPEND([$1], [" $callsign_flag"])],
        [AC_MSG_RESULT([no])])
    CFLAGS=$callsign_saved_CFLAGS
done
])

# CALLSIGN_LD_FLAGS(VARIABLE, FLAGS)
# The same for the linker.
AC_DEFUN([CALLSIGN_LD_FLAGS], [
for callsign_flag in $2; do
    AC_MSG_CHECKING([whether the linker takes $callsign_flag])
    callsign_saved_LDFLAGS=$LDFLAGS
    callsign_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror -fPIE"
    LDFLAGS="$LDFLAGS $$1 $callsign_flag"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stdio.h>]], [[puts("");]])],
        [AC_MSG_RESULT([yes])
         AS_VAR_APPEND([$1], [" $callsign_flag"])],
        [AC_MSG_RESULT([no])])
    CFLAGS=$callsign_saved_CFLAGS
    LDFLAGS=$callsign_saved_LDFLAGS
done
])
