//! nccl.conf: `NAME=value` lines that NCCL puts into the environment where the name is not set.
//!
//! So whatever is in the environment beats the file, and a variable that stands in such a file must
//! not be set for the job. Read as NCCL reads it (`setEnvFile` in src/misc/param.cc, 2.18 to 2.32):
//! no blanks are trimmed.

/// The names that an nccl.conf sets.
pub fn names(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"#")).filter_map(|line| {
        let end = line.iter().position(|&byte| byte == b'=')?;
        std::str::from_utf8(&line[..end]).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_are_what_stands_before_the_first_equals_sign() {
        let text =
            b"NCCL_DEBUG=INFO\r\n#NCCL_NET=IB\n\nNCCL_ALGO\nNCCL_TOPO_FILE=/a=b\nNCCL_X =1\n\xff=2";
        let found: Vec<&str> = names(text).collect();
        assert_eq!(found, ["NCCL_DEBUG", "NCCL_TOPO_FILE", "NCCL_X "]);
        assert_eq!(names(b"").count(), 0);
    }
}
