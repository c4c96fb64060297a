//! The settings that layers of both sides have, written once: a macro is a layer's methods, for a layer with a method `with` that changes
//! its config.

/// Of [`ServerLayer`](crate::ServerLayer) and [`ClientLayer`](crate::ClientLayer).
macro_rules! http_settings {
    () => {
        /// What spans show of the URL's query; credentials in a URL never show. Default: [`QueryDisplay::Redacted`].
        #[must_use]
        pub fn query(self, display: QueryDisplay) -> Self {
            self.with(|config| config.query = display)
        }

        /// The methods that are told apart, instead of those of RFC 9110, PATCH and QUERY. All others count as `_OTHER`.
        #[must_use]
        pub fn known_methods<N: AsRef<str>>(self, methods: impl IntoIterator<Item = N>) -> Self {
            self.with(|config| config.methods = Methods::of(methods))
        }

        /// Headers of requests that become attributes, `http.request.header.<name>`; several values are joined by commas.
        /// Values of `authorization`, `cookie` and other names that stand for secrets show as `[redacted]`. With lgtm's layers
        /// only. Default: none.
        #[must_use]
        pub fn request_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
            self.with(|config| config.request_headers = Captured::new("http.request.header", names))
        }

        /// The same for the headers of answers, `http.response.header.<name>`. Default: none.
        #[must_use]
        pub fn response_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
            self.with(|config| config.response_headers = Captured::new("http.response.header", names))
        }
    };
}

/// Of `GrpcServerLayer` and `GrpcClientLayer`.
#[cfg(feature = "tonic")]
macro_rules! grpc_settings {
    () => {
        /// Metadata of calls that become attributes, `rpc.request.metadata.<name>`, as
        /// [`ServerLayer::request_headers`](crate::ServerLayer::request_headers). Default: none.
        #[must_use]
        pub fn request_metadata(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
            self.with(|config| config.request_metadata = Captured::new("rpc.request.metadata", names))
        }

        /// The same for the metadata of answers, `rpc.response.metadata.<name>`. Default: none.
        #[must_use]
        pub fn response_metadata(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
            self.with(|config| config.response_metadata = Captured::new("rpc.response.metadata", names))
        }
    };
}
