//! Nothing of its own: the tests beside this file look at the window of lgtm-devstack in Chromium. A package apart, so that nobody else
//! builds what drives a browser.
