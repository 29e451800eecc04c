//! One stream in two halves, for two coroutines.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};

use crate::seam::sync::Arc;

/// Gives the reading and the writing of `stream` to two owners. It closes when both are gone.
///
/// For what reads and writes by reference, as the sockets do. Nothing is locked: the directions are independent of
/// each other. Where both coroutines end before the stream, in a [`scope`](crate::scope()) say, `&stream` does.
///
/// ```
/// use runtime::net::{Shutdown, UnixStream};
/// use std::io::{Read, Write};
///
/// runtime::run(|| -> std::io::Result<()> {
///     let (here, there) = UnixStream::pair()?;
///     let (mut read, mut write) = runtime::io::split(there);
///     runtime::spawn(move || runtime::io::copy(&mut read, &mut write)); // an echo
///     (&here).write_all(b"hello")?;
///     here.shutdown(Shutdown::Write)?;
///     let mut answer = String::new();
///     (&here).read_to_string(&mut answer)?;
///     assert_eq!(answer, "hello");
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub fn split<T>(stream: T) -> (ReadHalf<T>, WriteHalf<T>)
where
    for<'a> &'a T: Read + Write,
{
    let stream = Arc::new(stream);
    let also = Arc::clone(&stream);
    (ReadHalf { stream }, WriteHalf { stream: also })
}

/// What reads of a stream that was [`split`].
pub struct ReadHalf<T> {
    stream: Arc<T>,
}

/// What writes of a stream that was [`split`].
///
/// Dropping it does not end the writing, as the other half may be asked for addresses and the like:
/// `half.get_ref().shutdown(Shutdown::Write)` does.
pub struct WriteHalf<T> {
    stream: Arc<T>,
}

impl<T> ReadHalf<T> {
    /// The stream, for what else it can do.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T> WriteHalf<T> {
    /// The stream, for what else it can do.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T> Read for ReadHalf<T>
where
    for<'a> &'a T: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self.stream).read_vectored(buffers)
    }
}

impl<T> Write for WriteHalf<T>
where
    for<'a> &'a T: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.stream).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.stream).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.stream).flush()
    }
}

impl<T: fmt::Debug> fmt::Debug for ReadHalf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadHalf").field(&*self.stream).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for WriteHalf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteHalf").field(&*self.stream).finish()
    }
}
